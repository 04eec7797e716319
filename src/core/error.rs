//! Why a request is not, or no longer, served: one closed set of stable codes.

use std::fmt;

/// The stable error codes of every interface; see `docs/protocol.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request is malformed or asks for something that does not exist.
    BadRequest,
    /// The request, prompt or answer is over a size limit.
    TooLarge,
    /// No task of that name is configured.
    UnknownTask,
    /// The queue is full; nothing is wrong with the request.
    Busy,
    /// The client has used up its share.
    OverQuota,
    /// The answer cannot be ready by the deadline.
    DeadlineInfeasible,
    /// The deadline passed before the answer was complete.
    DeadlineExceeded,
    /// The answer's tokens ran out before it had its shape.
    Incomplete,
    /// The request needs more KV memory than the budget holds.
    MemoryInfeasible,
    /// The model is being exchanged, and the deadline falls into that time.
    Reloading,
    /// The request was older than its own deadline when it arrived.
    Expired,
    /// The client cancelled, or went away.
    Cancelled,
    /// The client does not read its answers.
    ClientSlow,
    /// The daemon is going down.
    ShuttingDown,
    /// A fault of slmd or of the engine.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::TooLarge,
        Self::UnknownTask,
        Self::Busy,
        Self::OverQuota,
        Self::DeadlineInfeasible,
        Self::DeadlineExceeded,
        Self::Incomplete,
        Self::MemoryInfeasible,
        Self::Reloading,
        Self::Expired,
        Self::Cancelled,
        Self::ClientSlow,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The name on the wire; never changes.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::UnknownTask => "unknown_task",
            Self::Busy => "busy",
            Self::OverQuota => "over_quota",
            Self::DeadlineInfeasible => "deadline_infeasible",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Incomplete => "incomplete",
            Self::MemoryInfeasible => "memory_infeasible",
            Self::Reloading => "reloading",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::ClientSlow => "client_slow",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }

    /// The code of that name on the wire.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }

    /// Whether the same request may succeed later without a change.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::OverQuota | Self::Reloading | Self::ClientSlow | Self::ShuttingDown
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refusal or failure of one request, as told to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RejectReason {
    /// The stable code.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do about it.
    pub message: String,
    /// How many tokens would fit, where that is the problem: of the answer, or of the prompt if
    /// that alone is too long.
    pub max_tokens_that_fit: Option<u32>,
    /// How many milliseconds the request would need, where that is the problem.
    pub needs_ms: Option<u32>,
    /// The answer as far as it had come, where there is something of it.
    pub draft: Option<Box<str>>,
    /// Whether somebody else was told of the request, as its task says.
    pub escalated: bool,
}

impl RejectReason {
    /// A reason without figures.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            max_tokens_that_fit: None,
            needs_ms: None,
            draft: None,
            escalated: false,
        }
    }

    /// The stable name of the code.
    pub const fn code(&self) -> &'static str {
        self.code.code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name_of_its_own() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ErrorCode::from_code("nonsense"), None);
    }
}
