//! `slmd doctor`: what is here, what would be used, and why.

use super::args::DoctorArgs;
use super::exit::Failure;
use super::{boards, facts, serve};
use crate::board::Board;
use crate::config::Environment;
use crate::core::plan::EngineKind;
use crate::engine::choice;
use serde_json::{Value, json};

/// Looks at this machine.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let settings = serve::settings(args.config.as_deref(), &[])?;
    let board = Board::find(&settings.board.value)?;
    let found = json!({
        "slmd": env!("CARGO_PKG_VERSION"),
        "board": boards::machine(&board, &settings),
        "engines_in_this_build": {
            "ort": cfg!(feature = "ort"), "tract": cfg!(feature = "tract"),
        },
        "onnx_runtime": libraries(),
        "engine": chosen(settings.engine.value),
        "model": {
            "directory": settings.model.value,
            "embedded": cfg!(feature = "default-model"),
        },
        "socket": settings.unix_path.value,
        "state": { "directory": settings.state_dir.value, "root": Environment::current().is_root },
    });
    facts::print(&found, args.json)
}

fn chosen(asked: EngineKind) -> Value {
    match choice::choose(asked) {
        Ok(choice) => json!({
            "asked": asked.name(), "chosen": choice.kind.name(), "reason": choice.reason,
        }),
        Err(error) => json!({
            "asked": asked.name(), "chosen": null, "reason": error.to_string(),
        }),
    }
}

#[cfg(feature = "ort")]
fn libraries() -> Value {
    let candidates = crate::engine::ort::library::candidates();
    candidates
        .iter()
        .map(|c| json!({ "path": c.path, "why": c.why, "exists": c.path.exists() }))
        .collect()
}

#[cfg(not(feature = "ort"))]
fn libraries() -> Value {
    Value::Null
}
