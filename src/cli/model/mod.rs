//! `slmd model`: models in the field. The store has them on the disk, a trial in a process of its own
//! says whether one may be active, and the daemon takes what `current` is when it reloads.

mod args;
mod change;
mod fault;
mod list;
mod trial;

pub use args::{
    ActivateArgs, InstallArgs, ModelArgs, ModelCommand, RemoveArgs, RollbackArgs, StoreArgs,
    TrialArgs, VerifyArgs,
};

use super::exit::Failure;
use super::serve;
use super::term::{Progress, note};
use crate::config::Settings;
use crate::store::disk::RealDisk;
use crate::store::{Policy, Store};
use fault::Fault;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;

/// Runs it.
pub fn run(args: &ModelArgs) -> Result<(), Failure> {
    let command = &args.command;
    let done = match command {
        ModelCommand::Install(args) => change::install(args),
        ModelCommand::List(at) => list::list(at),
        ModelCommand::Verify(args) => list::verify(args),
        ModelCommand::Activate(args) => change::activate(args),
        ModelCommand::Rollback(args) => change::roll_back(args),
        ModelCommand::Remove(args) => change::remove(args),
        ModelCommand::Trial(args) => trial::obey(args),
    };
    done.map_err(|fault| {
        if command.wants_json() && !fault.is_told {
            let error =
                json!({ "error": { "code": fault.code, "message": fault.failure.message } });
            // The fault itself is what matters.
            let _ = say(&format!("{error:#}\n"));
        }
        *fault.failure
    })
}

/// What a command works with.
struct Context {
    settings: Settings,
    root: PathBuf,
    at: StoreArgs,
}

impl Context {
    fn new(at: &StoreArgs) -> Result<Self, Fault> {
        super::log_to_stderr("warn");
        let settings = serve::settings(at.config.as_deref(), &[])?;
        let root = at.store.clone().unwrap_or_else(|| settings.models.dir.value.clone());
        Ok(Self { settings, root, at: at.clone() })
    }

    fn policy(&self, allow_downgrade: bool) -> Policy {
        let models = &self.settings.models;
        Policy {
            keys: models.keys.value.clone(),
            require_signature: models.require_signature.value,
            max_bytes: models.max_bytes.value,
            allow_downgrade,
        }
    }

    fn open(&self) -> Result<Store, Fault> {
        let store = Store::open(&self.root, Box::new(RealDisk))?;
        store.notes().iter().for_each(|text| note(text));
        Ok(store)
    }

    /// Prints what was done, as JSON or in words.
    fn tell(&self, facts: &Value, words: &str) -> Result<(), Fault> {
        match self.at.json {
            true => say(&format!("{facts:#}\n")),
            false => say(words),
        }
    }
}

fn say(text: &str) -> Result<(), Fault> {
    Ok(std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))?)
}

/// Runs `work` with a sign of life on the terminal.
fn with_progress<T>(phase: &str, work: impl FnOnce(&dyn Fn(&str)) -> T) -> T {
    let mut progress = Progress::start(phase);
    let done = work(&|phase| progress.phase(phase));
    progress.end();
    done
}
