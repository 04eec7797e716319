//! How the process ends when something is wrong: one line of what, one of what to do, one code.

use super::term;
use crate::client::ClientError;
use crate::core::error::{ErrorCode, RejectReason};
use std::io;
use std::path::Path;

/// All is well.
pub const OK: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// The request cannot be served as it is.
pub const DATA: u8 = 65;
/// An input file is missing or unreadable.
pub const NO_INPUT: u8 = 66;
/// There is no daemon.
pub const UNAVAILABLE: u8 = 69;
/// A fault of slmd.
pub const INTERNAL: u8 = 70;
/// An output file cannot be written.
pub const CANNOT_WRITE: u8 = 73;
/// It may work later.
pub const TEMPORARY: u8 = 75;
/// The user may not.
pub const PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
/// Out of time, as `timeout` has it.
pub const TIMEOUT: u8 = 124;
/// Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// An end that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is wrong; empty if it was said already.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The daemon's reason, where it is one.
    pub reason: Option<RejectReason>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, reason: None }
    }

    /// An end that needs no further words.
    pub fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Writes it to standard error.
    pub fn report(&self) {
        if self.message.is_empty() {
            return;
        }
        eprintln!("{} {}", term::error_prefix(), term::printable(&self.message));
        if let Some(hint) = &self.hint {
            eprintln!("      {hint}");
        }
    }

    /// A file that was named cannot be read.
    pub fn unreadable(path: &Path, e: &io::Error) -> Self {
        let code = match e.kind() {
            io::ErrorKind::PermissionDenied => PERMISSION,
            _ => NO_INPUT,
        };
        Self::new(code, format!("cannot read {}: {e}", path.display()))
    }

    /// Standard output is gone: a closed pipe is nothing to complain about.
    pub fn output(e: &io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(OK),
            _ => Self::new(INTERNAL, format!("cannot write the answer: {e}")),
        }
    }
}

impl From<RejectReason> for Failure {
    fn from(reason: RejectReason) -> Self {
        let (code, hint) = match reason.code {
            ErrorCode::BadRequest | ErrorCode::TooLarge => (DATA, None),
            ErrorCode::MemoryInfeasible => {
                (DATA, Some("make the prompt shorter, or --max-tokens smaller"))
            }
            ErrorCode::UnknownTask => (DATA, None),
            ErrorCode::Incomplete => (DATA, Some("give more --max-tokens")),
            ErrorCode::DeadlineInfeasible => {
                (TEMPORARY, Some("give more time by --deadline-ms, or ask for fewer --max-tokens"))
            }
            ErrorCode::DeadlineExceeded | ErrorCode::Expired => (TIMEOUT, None),
            ErrorCode::Cancelled => (TEMPORARY, None),
            ErrorCode::Internal => (INTERNAL, Some("the daemon's log says more")),
            ErrorCode::Busy
            | ErrorCode::OverQuota
            | ErrorCode::Reloading
            | ErrorCode::ClientSlow
            | ErrorCode::ShuttingDown => (TEMPORARY, Some("try again in a moment")),
        };
        let message = format!("{} ({})", reason.message, reason.code());
        Self { code, message, hint: hint.map(str::to_owned), reason: Some(reason) }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Self {
        match e {
            ClientError::Rejected(reason) => Self::from(reason),
            ClientError::TurnedAway(reason) if reason.code == ErrorCode::BadRequest => {
                Self { code: PERMISSION, ..Self::from(reason) }
            }
            ClientError::TurnedAway(reason) => Self::from(reason),
            ClientError::TimedOut(_) => Self::new(TIMEOUT, e.to_string()),
            ClientError::Protocol(_) => Self::new(INTERNAL, e.to_string())
                .hint("the daemon and this command may be of different versions"),
            ClientError::Connect { ref source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Self::new(PERMISSION, e.to_string())
                    .hint("join the socket's group (usually `slmd`), then log in again"),
                _ => Self::new(UNAVAILABLE, e.to_string())
                    .hint("is the daemon running? `slmd serve` starts it; --socket names another"),
            },
            ClientError::Closed | ClientError::Io(_) => Self::new(UNAVAILABLE, e.to_string()),
        }
    }
}
