//! What the commands need of the supervisor, the engines and the configuration.

use super::answerer::Answerer;
use super::args::{CheckArgs, DoctorArgs, LocalArgs, ServeArgs};
use super::exit::{Failure, UNAVAILABLE};

fn missing(what: &str) -> Failure {
    Failure::new(UNAVAILABLE, format!("{what} is not part of this build yet"))
}

/// Loads a model into this process.
pub fn in_process(_: &LocalArgs) -> Result<Box<dyn Answerer>, Failure> {
    Err(missing("answering without a daemon")
        .hint("start one with `slmd serve`, or name its socket with --socket"))
}

/// Runs the daemon.
pub fn serve(_: &ServeArgs) -> Result<(), Failure> {
    Err(missing("`serve`"))
}

/// Validates files.
pub fn check(_: &CheckArgs) -> Result<(), Failure> {
    Err(missing("`check`"))
}

/// Looks at the machine.
pub fn doctor(_: &DoctorArgs) -> Result<(), Failure> {
    Err(missing("`doctor`"))
}
