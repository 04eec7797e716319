//! Why a configuration cannot be used.

use super::diagnostic::Diagnostic;

/// A configuration that is absent, malformed or contradictory. Exit code 78 (`EX_CONFIG`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("{file}: {problem}")]
    Read {
        /// The file.
        file: String,
        /// The system's words.
        problem: String,
    },
    /// Something written in a file is wrong; shown with its line and a caret.
    #[error("{0}")]
    Written(Box<Diagnostic>),
    /// An environment variable or a flag is wrong.
    #[error("{origin}: {problem}")]
    Value {
        /// `SLMD_THREADS`, `--threads`.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// A value is needed that nothing supplies.
    #[error("{key}: {problem}")]
    Unset {
        /// The key, dotted.
        key: &'static str,
        /// Why there is no default.
        problem: String,
    },
}

impl ConfigError {
    /// A stable name of the reason, for logs and `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Written(_) => "written",
            Self::Value { .. } => "value",
            Self::Unset { .. } => "unset",
        }
    }
}
