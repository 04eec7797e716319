//! How `slmd model` ends when something is wrong: exit code, stable name, words.

use super::super::exit::{CONFIG, DATA, Failure, INTERNAL, NO_INPUT, PERMISSION, TEMPORARY, USAGE};
use crate::store::StoreError;
use crate::supervisor::trial::Refused;
use std::io;

/// A failure with the name that `--json` shows.
pub(super) struct Fault {
    pub failure: Box<Failure>,
    pub code: String,
    /// Whether JSON that says it was printed already.
    pub is_told: bool,
}

impl Fault {
    pub fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self::from_failure(Failure::new(exit, message), code)
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { failure: Box::new(self.failure.hint(hint)), ..self }
    }

    fn from_failure(failure: Failure, code: &str) -> Self {
        Self { failure: Box::new(failure), code: code.to_owned(), is_told: false }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let code = if failure.code == CONFIG { "configuration" } else { "failed" };
        Self::from_failure(failure, code)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::InUse { .. } | StoreError::NoRoom { .. } => TEMPORARY,
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PERMISSION,
                io::ErrorKind::NotFound => NO_INPUT,
                _ => TEMPORARY,
            },
            StoreError::ForeignCurrent { .. } => CONFIG,
            StoreError::NoSource { .. } | StoreError::Unknown { .. } | StoreError::NoPrevious => {
                NO_INPUT
            }
            StoreError::Ambiguous { .. } | StoreError::IsActive { .. } => USAGE,
            StoreError::Unsigned | StoreError::Signature(_) | StoreError::Downgrade { .. } => {
                PERMISSION
            }
            StoreError::Newer { .. }
            | StoreError::Archive { .. }
            | StoreError::NoManifest { .. }
            | StoreError::Unlisted { .. }
            | StoreError::Bundle(_) => DATA,
        };
        let fault = Self::new(exit, error.code(), error.to_string());
        match exit {
            PERMISSION if matches!(error, StoreError::Io { .. }) => fault.hint(
                "models are installed as root, or as the user that owns the folder; --store names \
                 another",
            ),
            _ => fault,
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let exit = match (refused.is_temporary, refused.code.as_str()) {
            (true, _) => TEMPORARY,
            (_, "budget" | "context" | "watched_task") => CONFIG,
            (_, "trial_failed") => INTERNAL,
            _ => DATA,
        };
        Self::new(exit, &refused.code, refused.message)
    }
}
