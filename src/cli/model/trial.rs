//! The trial of a model, in a process of its own: what starts it and waits, and what runs in it.

use super::super::{log_to_stderr, serve};
use super::args::TrialArgs;
use super::fault::Fault;
use super::say;
use crate::child::{self, ChildError};
use crate::supervisor::Plan;
use crate::supervisor::trial::{self, Passed, Refused};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What the process says at its end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Passed(Passed),
    Refused(Refused),
}

/// Runs the trial of `slmd model trial`; the outcome goes to standard output.
pub(super) fn obey(args: &TrialArgs) -> Result<(), Fault> {
    child::be_expendable();
    log_to_stderr("warn");
    let flags = [("model", args.folder.display().to_string())];
    let settings = serve::settings(args.config.as_deref(), &flags)?;
    let outcome = match trial::run(&Plan::from(&settings), &|_| ()) {
        Ok(passed) => Outcome::Passed(passed),
        Err(refused) => Outcome::Refused(refused),
    };
    say(&format!("{}\n", serde_json::to_string(&outcome).expect("strings and numbers")))
}

/// Tries the model in `folder` in another process of this executable.
///
/// # Errors
/// [`Refused`]: why it may not become active, or what became of the process.
pub(super) fn run(
    folder: &Path,
    config: Option<&Path>,
    timeout: Duration,
) -> Result<Passed, Refused> {
    let failed = |e: &dyn fmt::Display| {
        Refused::new("trial_failed", format!("the trial cannot be run: {e}"))
    };
    let mut command = Command::new(std::env::current_exe().map_err(|e| failed(&e))?);
    command.args(["model", "trial"]).arg(folder);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let ended = child::run(command, b"", timeout).map_err(|error| match error {
        ChildError::Run { .. } => failed(&error),
        ChildError::Timeout(longest) => {
            let seconds = longest.as_secs_f64();
            let message = format!(
                "its trial was not over after {seconds:.0} s; models.trial-timeout-s gives it longer"
            );
            Refused::new("trial_timeout", message)
        }
    })?;
    match serde_json::from_slice(&ended.output) {
        Ok(Outcome::Passed(passed)) if ended.is_success() => Ok(passed),
        Ok(Outcome::Refused(refused)) => Err(refused),
        _ => Err(Refused::new("trial_crashed", format!("its trial {}", ended.how()))),
    }
}
