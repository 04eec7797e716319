//! `slmd try-provider`: the child's side of a trial (`supervisor::providers`).

use super::exit::Failure;
use crate::child;
use crate::supervisor::providers;
use std::io::Write;

/// Reads the order from standard input and prints what came of it, as JSON.
pub fn run() -> Result<(), Failure> {
    child::be_expendable();
    let said = providers::obey(&mut std::io::stdin().lock());
    let text = serde_json::to_vec(&said).expect("strings and numbers");
    std::io::stdout().write_all(&text).map_err(|e| Failure::output(&e))
}
