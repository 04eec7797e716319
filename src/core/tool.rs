//! Tools: what a model may call, and the calls that it made. Who runs them is decided above.

use serde_json::Value;

/// Something that a model may call; the names are OpenAI's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// 1 to 64 letters, digits, `_`, `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments: of objects.
    pub parameters: Value,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolCall {
    /// What the result is to name; unique within a conversation.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON object as text, as OpenAI has it: valid under the tool's schema.
    pub arguments: String,
}

/// What a call does on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a program: its path and its arguments.
    Run(Vec<String>),
    /// Publishes the arguments on the message broker.
    Publish {
        /// Where.
        topic: String,
        /// Whether a message that comes back is the result.
        answers: bool,
    },
}

/// The `finish_reason` and `cause` of an answer that calls tools.
pub const TOOL_CALLS: &str = "tool_calls";

/// Whether a model may, must or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It must not.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// Whether a tool may be called so.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
