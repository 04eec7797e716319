//! What can be wrong with a tokenizer, a template or a text.

/// A tokenizer or template that cannot be used, or a text that cannot be turned into tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A file of the model says something that cannot be used.
    #[error("{file}: {problem}")]
    File {
        /// The file's name within the bundle.
        file: String,
        /// What is wrong, with the field's name.
        problem: String,
    },
    /// A template that does not compile, or that failed while it ran.
    #[error("{name}, line {line}: {problem}")]
    Template {
        /// Which template.
        name: String,
        /// Counted from one; zero if unknown.
        line: usize,
        /// The template engine's words.
        problem: String,
    },
    /// The template itself refused the conversation, by `raise_exception`.
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
    /// A template that ran or wrote beyond its limits.
    #[error("{name}: over the limit of {limit}")]
    Limit {
        /// Which template.
        name: String,
        /// Which limit, with its unit.
        limit: String,
    },
    /// A part of the conversation that cannot be rendered.
    #[error("{field}: {problem}")]
    Conversation {
        /// Its path, as in `messages[2].role`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing to feed to the model.
    #[error("the prompt yields no token")]
    NoToken,
    /// More text than is encoded at once.
    #[error("the text has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The tokenizer failed on this text.
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
}

impl TextError {
    /// A file of the model that cannot be used.
    pub(crate) fn file(file: &str, problem: impl std::fmt::Display) -> Self {
        Self::File { file: file.to_owned(), problem: problem.to_string() }
    }

    /// The stable name of the variant, for logs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "bad_file",
            Self::Template { .. } => "bad_template",
            Self::Refused(_) => "refused_by_template",
            Self::Limit { .. } => "template_limit",
            Self::Conversation { .. } => "bad_conversation",
            Self::NoToken => "no_token",
            Self::TooLong { .. } => "too_long",
            Self::Encode(_) => "encode",
        }
    }

    /// Whether the request is at fault, not the model's files or the configuration.
    pub const fn is_request_fault(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Template { .. })
    }
}
