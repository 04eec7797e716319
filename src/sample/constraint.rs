//! What a constraint is: something that says, token by token, what may come next.

use super::calls::CallShape;
use super::mask::TokenMask;
use serde_json::Value;

/// The shape that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseShape {
    /// Any JSON object.
    JsonObject,
    /// JSON valid under this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression from beginning to end.
    Regex(String),
    /// Text of this Lark grammar.
    Lark(String),
    /// Calls of tools, or what may stand in their place.
    Calls(CallShape),
}

impl ResponseShape {
    /// Whether such an answer is JSON from its first to its last byte.
    pub const fn is_json(&self) -> bool {
        matches!(self, Self::JsonObject | Self::JsonSchema(_))
    }
}

/// A shape that cannot be enforced, or a constraint that failed while it ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// A keyword of a JSON schema that is not supported.
    #[error("schema{pointer}: `{keyword}` is not supported{hint}")]
    Keyword {
        /// JSON pointer to the schema that holds it; empty for the root.
        pointer: String,
        /// The keyword.
        keyword: String,
        /// What to do instead, or empty.
        hint: &'static str,
    },
    /// A schema, regular expression, grammar or list of labels that is wrong.
    #[error("{what}: {problem}")]
    Invalid {
        /// `json_schema`, `regex`, `lark`, `tools` or `choices`.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// More than is compiled for one request.
    #[error("{what}: over the limit of {limit}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Which limit, with its unit.
        limit: String,
    },
    /// A token that the grammar does not allow: a fault of the caller.
    #[error("token {0} is not allowed here")]
    Token(u32),
    /// The grammar's engine gave up, as when its states are over their limit.
    #[error("the constraint failed: {0}")]
    Failed(String),
}

impl ConstraintError {
    /// The stable name of the variant, for logs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Keyword { .. } => "unsupported_keyword",
            Self::Invalid { .. } => "invalid_shape",
            Self::TooLarge { .. } => "shape_too_large",
            Self::Token(_) => "token_not_allowed",
            Self::Failed(_) => "constraint_failed",
        }
    }
}

/// What may come next.
#[derive(Debug, PartialEq, Eq)]
pub enum Masked<'a> {
    /// One of these tokens. End-of-sequence tokens are among them where the answer may end.
    Tokens(&'a TokenMask),
    /// Nothing: the answer is complete.
    Stop,
}

/// Shapes one answer.
pub trait Constraint: Send {
    /// The tokens that may come next.
    ///
    /// # Errors
    /// [`ConstraintError::Failed`]; the answer cannot be continued then.
    fn mask(&mut self) -> Result<Masked<'_>, ConstraintError>;

    /// Tokens that must come next, whatever the model says; may be empty. They are not consumed:
    /// [`Constraint::advance`] over each that is taken.
    fn forced(&mut self) -> &[u32];

    /// Takes a token. An end-of-sequence token ends the answer.
    ///
    /// # Errors
    /// [`ConstraintError::Token`] if it is not allowed; the constraint stays as it was then.
    fn advance(&mut self, token: u32) -> Result<(), ConstraintError>;

    /// Takes back the last `tokens` tokens.
    ///
    /// # Errors
    /// [`ConstraintError::Failed`] if there were not so many.
    fn rollback(&mut self, tokens: usize) -> Result<(), ConstraintError>;

    /// Whether the answer has the shape if it ends here.
    fn is_complete(&mut self) -> bool;

    /// Whether the answer must end here.
    fn must_stop(&mut self) -> bool;

    /// The shortest answer that is known, from its beginning.
    fn least(&self) -> &[u32];

    /// Tokens that complete the answer from here, as few as could be found; none if no way was found.
    /// They are not consumed.
    fn closing(&mut self) -> Option<Vec<u32>>;
}
