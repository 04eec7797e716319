//! What clients say and hear: one domain type, with a DTO per codec.
//!
//! Field names are OpenAI's where they exist. Knows bytes and limits; nothing of sockets or MQTT.
//! [`json`] and [`frame`] are the codecs, [`framer`] cuts a byte stream into their messages, and
//! what a request may hold at all is checked in one place for both: [`Ask::validate`].

pub mod frame;
pub mod framer;
pub mod json;
pub mod limits;

mod fields;
mod frame_convert;
mod json_out;
mod tools;
mod validate;

use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{OnDeadline, Priority, Score};
use crate::core::tool::{Tool, ToolCall, ToolChoice};
use serde_json::Value;

/// How messages look on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// One JSON object on each line.
    JsonLines,
    /// [`frame`]: postcard in COBS, each frame ended by a zero byte.
    Postcard,
}

/// A message that is not a command, with the id if it could be read all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// The client's id.
    pub id: Option<String>,
    /// What is wrong.
    pub reason: RejectReason,
}

impl Malformed {
    pub(crate) fn bad(id: Option<String>, message: impl Into<String>) -> Self {
        Self { id, reason: RejectReason::new(ErrorCode::BadRequest, message) }
    }
}

impl From<Malformed> for Reply {
    fn from(malformed: Malformed) -> Self {
        Self::Error { id: malformed.id, reason: malformed.reason }
    }
}

/// Anything a client may ask of the daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Answer a prompt.
    Ask(Box<Ask>),
    /// End a request of this connection. Has no reply of its own: the request answers `cancelled`,
    /// and if there is none of that id (any more), nothing happens.
    Cancel {
        /// The id that the client gave.
        id: String,
    },
    /// End any request, by the number that `status` shows; for root and the daemon's own user.
    CancelNumber {
        /// Echoed in the reply.
        id: Option<String>,
        /// The number.
        request: u64,
    },
    /// What the daemon is doing.
    Status {
        /// Echoed in the reply.
        id: Option<String>,
    },
    /// Whether the daemon can serve.
    Health {
        /// Echoed in the reply.
        id: Option<String>,
    },
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// Of the assistant: the tools that it called.
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool: the call that this is the result of.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), ..Self::default() }
    }
}

/// The shape that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON valid under this schema.
    JsonSchema(Value),
    /// The likeliest of these labels.
    Choice(Vec<String>, Score),
    /// Text that matches this regular expression.
    Regex(String),
    /// Text of this Lark grammar.
    Lark(String),
}

/// A prompt with everything that was asked of its answer. Absent means: the task's default, then
/// the configuration's, then the model's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ask {
    /// The client's name for the request, echoed in every reply.
    pub id: Option<String>,
    /// A task of the configuration or of the bundle.
    pub task: Option<String>,
    /// Variables of the task's template: a JSON object.
    pub vars: Option<Value>,
    /// One user message, or raw text where the model has no chat template.
    pub prompt: Option<String>,
    /// A conversation, instead of `prompt`.
    pub messages: Vec<Message>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Sampling temperature; 0 is greedy.
    pub temperature: Option<f32>,
    /// Nucleus sampling.
    pub top_p: Option<f32>,
    /// Keep the k likeliest.
    pub top_k: Option<u32>,
    /// Keep what is at least this share as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen.
    pub repetition_penalty: Option<f32>,
    /// Subtracted for each time a token is in the answer.
    pub frequency_penalty: Option<f32>,
    /// Subtracted once if a token is in the answer.
    pub presence_penalty: Option<f32>,
    /// For reproducible sampling.
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Whether to send deltas.
    pub stream: bool,
    /// The shape of the answer.
    pub response_format: Option<ResponseFormat>,
    /// When the terminal reply is due, in milliseconds from arrival.
    pub deadline_ms: Option<u32>,
    /// When the first token is due, in milliseconds from arrival.
    pub ttft_ms: Option<u32>,
    /// Who goes first.
    pub priority: Option<Priority>,
    /// Serve it even if the deadline cannot be met.
    pub best_effort: bool,
    /// Whether to say how likely each token was, and how many of the likeliest to name in its place.
    pub logprobs: Option<u8>,
    /// An answer that is less sure than this says that it abstains: 0 to 1.
    pub min_confidence: Option<f32>,
    /// What becomes of an answer that cannot be finished.
    pub on_deadline: Option<OnDeadline>,
    /// What the model may call; whoever asks runs it, and asks again with the results.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once; none: it may.
    pub parallel_tool_calls: Option<bool>,
}

impl Ask {
    /// The task that it names; that of a plain prompt is `default`.
    pub fn task_or<'a>(&'a self, default: Option<&'a str>) -> Option<&'a str> {
        let is_plain = self.messages.is_empty() && self.response_format.is_none();
        self.task.as_deref().or_else(|| default.filter(|_| is_plain))
    }
}

/// What the daemon says. Every request gets any number of deltas and exactly one other reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A further piece of text.
    Delta {
        /// The client's id.
        id: Option<String>,
        /// The piece; never half a character.
        text: String,
    },
    /// The answer.
    Answer(Box<Answer>),
    /// The refusal or failure.
    Error {
        /// The client's id.
        id: Option<String>,
        /// Why.
        reason: RejectReason,
    },
    /// The answer to [`Command::Status`], [`Command::Health`] and [`Command::CancelNumber`]: a
    /// JSON object.
    Report {
        /// The client's id.
        id: Option<String>,
        /// The figures.
        body: Value,
    },
}

impl Reply {
    /// A refusal.
    pub fn refuse(id: Option<String>, code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error { id, reason: RejectReason::new(code, message) }
    }

    /// The client's id of the request that this belongs to.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Delta { id, .. } | Self::Error { id, .. } | Self::Report { id, .. } => {
                id.as_deref()
            }
            Self::Answer(answer) => answer.id.as_deref(),
        }
    }

    /// Whether this is the last reply of its request.
    pub const fn is_terminal(&self) -> bool {
        !matches!(self, Self::Delta { .. })
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The client's id.
    pub id: Option<String>,
    /// The whole text, deltas included.
    pub text: String,
    /// OpenAI's `finish_reason`: `stop`, `length` or `tool_calls`.
    pub finish_reason: &'static str,
    /// The real cause: also `deadline`.
    pub cause: &'static str,
    /// Whether the text was cut.
    pub truncated: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Tokens of the prompt that were not computed again.
    pub cached_tokens: u32,
    /// Milliseconds from arrival to the first step.
    pub queue_ms: f32,
    /// Milliseconds from arrival to the first token.
    pub ttft_ms: f32,
    /// Milliseconds from arrival to the answer.
    pub total_ms: f32,
    /// How likely each token was, where that was asked for.
    pub logprobs: Option<Vec<TokenLogprobs>>,
    /// How sure it is, where it has a shape.
    pub confidence: Option<Confidence>,
    /// How likely each label was, of a choice.
    pub choice: Option<Choice>,
    /// Whether it is less sure than was asked for, where something was.
    pub abstained: Option<bool>,
    /// JSON pointers to the values that are not the model's: they were filled in when time or tokens ran
    /// out.
    pub filled: Vec<String>,
    /// The tools that the model calls.
    pub tool_calls: Vec<ToolCall>,
    /// Whether somebody else was told of the request or asked for an answer, as its task says.
    pub escalated: bool,
    /// Who else gave the answer.
    pub answered_by: Option<String>,
}

/// How sure an answer is: probabilities, 0 to 1, calibrated if the task is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Confidence {
    /// That the fields that matter are all as the model means them.
    pub overall: f32,
    /// Of each of them; none for a choice.
    pub fields: Option<FieldConfidence>,
}

/// How sure the fields of an answer are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldConfidence {
    /// Of the least sure one.
    pub min: f32,
    /// Of all of them, on average.
    pub mean: f32,
    /// A JSON pointer to the least sure one.
    pub lowest: String,
}

/// The outcome of a choice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Each label, in the order asked for, and its probability; they add up to 1.
    pub probabilities: Vec<(String, f32)>,
    /// By how much the likeliest is ahead of the next.
    pub margin: f32,
}

/// A token of an answer, and how likely it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenLogprobs {
    /// The token.
    pub token: TokenLogprob,
    /// The likeliest tokens in its place, the likeliest first.
    pub top: Vec<TokenLogprob>,
}

/// A token, and how likely it was: the natural logarithm of the probability that the model gave it
/// among those that the answer's shape allowed, before penalties, temperature and filters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenLogprob {
    /// Its text; may begin or end within a character.
    pub bytes: Vec<u8>,
    /// 0 for what the shape left no choice about.
    pub logprob: f32,
}
