//! Frames: postcard in COBS, each ended by a zero byte. For programs; people read [`super::json`].
//!
//! A client sends one zero byte, then [`ClientFrame::Hello`], and hears [`ServerFrame::Hello`] (or
//! [`ServerFrame::Error`] and the end of the connection). The layout is that of postcard 1: the
//! fields in this order, variants by number. It never changes within one [`VERSION`]; JSON (schemas,
//! variables, reports) travels as text, since postcard does not describe itself.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The version that this build speaks.
pub const VERSION: u16 = 4;

/// The longest stable error code or cause.
pub type Name = heapless::String<32>;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClientFrame<'a> {
    /// The first frame.
    Hello {
        /// [`VERSION`].
        version: u16,
    },
    /// A prompt.
    #[serde(borrow)]
    Ask(Box<AskFrame<'a>>),
    /// Ends a request of this connection; has no reply of its own.
    Cancel {
        /// The request's id.
        id: &'a str,
    },
    /// Ends any request; for root and the daemon's own user.
    CancelNumber {
        /// Echoed.
        id: Option<&'a str>,
        /// The number that `status` shows.
        request: u64,
    },
    /// Asks for figures.
    Status {
        /// Echoed.
        id: Option<&'a str>,
    },
    /// Asks whether the daemon can serve.
    Health {
        /// Echoed.
        id: Option<&'a str>,
    },
}

/// A prompt: the fields of [`super::Ask`], in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AskFrame<'a> {
    pub id: Option<&'a str>,
    pub task: Option<&'a str>,
    /// A JSON object, as text.
    #[serde(borrow)]
    pub vars: Option<Cow<'a, str>>,
    pub prompt: Option<&'a str>,
    pub messages: Vec<MessageFrame<'a>>,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub seed: Option<u64>,
    pub stop: Vec<&'a str>,
    pub stream: bool,
    pub response_format: Option<FormatFrame<'a>>,
    pub deadline_ms: Option<u32>,
    pub ttft_ms: Option<u32>,
    pub priority: Option<PriorityFrame>,
    pub best_effort: bool,
    pub logprobs: Option<u8>,
    pub min_confidence: Option<f32>,
    pub on_deadline: Option<OnDeadlineFrame>,
    #[serde(borrow)]
    pub tools: Vec<ToolFrame<'a>>,
    #[serde(borrow)]
    pub tool_choice: ToolChoiceFrame<'a>,
    pub parallel_tool_calls: Option<bool>,
}

/// A tool; its parameters are a JSON schema, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ToolFrame<'a> {
    pub name: &'a str,
    pub description: &'a str,
    #[serde(borrow)]
    pub parameters: Cow<'a, str>,
}

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ToolChoiceFrame<'a> {
    Auto,
    None,
    Required,
    Named(&'a str),
}

/// A call of a tool; its arguments are a JSON object, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ToolCallFrame<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub arguments: &'a str,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MessageFrame<'a> {
    pub role: &'a str,
    pub content: &'a str,
    #[serde(borrow)]
    pub tool_calls: Vec<ToolCallFrame<'a>>,
    pub tool_call_id: Option<&'a str>,
}

/// The shape of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatFrame<'a> {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// The schema, as JSON text.
    #[serde(borrow)]
    JsonSchema(Cow<'a, str>),
    /// The labels.
    Choice(Vec<&'a str>, ScoreFrame),
    /// A regular expression.
    Regex(&'a str),
    /// A Lark grammar.
    Lark(&'a str),
}

/// How a label is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ScoreFrame {
    Sum,
    Mean,
}

/// What becomes of an answer that cannot be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum OnDeadlineFrame {
    Error,
    Complete,
}

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum PriorityFrame {
    Urgent,
    Normal,
    Background,
}

/// What the daemon sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ServerFrame<'a> {
    /// The answer to the client's hello.
    Hello {
        /// The version that is spoken from here on.
        version: u16,
        /// `slmd/` and the daemon's version.
        server: Name,
    },
    /// A piece of text.
    Delta {
        /// The request's id.
        id: Option<&'a str>,
        /// The piece.
        text: &'a str,
    },
    /// A complete answer.
    #[serde(borrow)]
    Answer(Box<AnswerFrame<'a>>),
    /// A refusal or failure.
    Error(ErrorFrame<'a>),
    /// The answer to `Status`, `Health` and `CancelNumber`.
    Report {
        /// The command's id.
        id: Option<&'a str>,
        /// A JSON object, as text.
        #[serde(borrow)]
        json: Cow<'a, str>,
    },
}

/// A complete answer: the fields of [`super::Answer`], in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AnswerFrame<'a> {
    pub id: Option<&'a str>,
    pub text: &'a str,
    pub finish_reason: Name,
    pub cause: Name,
    pub truncated: bool,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    pub cached_tokens: u32,
    pub queue_ms: f32,
    pub ttft_ms: f32,
    pub total_ms: f32,
    pub logprobs: Option<Vec<TokenLogprobsFrame<'a>>>,
    pub confidence: Option<f32>,
    pub confidence_fields: Option<FieldsFrame<'a>>,
    pub choice: Option<ChoiceFrame<'a>>,
    pub abstained: Option<bool>,
    pub filled: Vec<&'a str>,
    #[serde(borrow)]
    pub tool_calls: Vec<ToolCallFrame<'a>>,
    pub escalated: bool,
    pub answered_by: Option<&'a str>,
}

/// How sure the fields of an answer are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FieldsFrame<'a> {
    pub min: f32,
    pub mean: f32,
    pub lowest: &'a str,
}

/// The outcome of a choice: each label and its probability, and the margin of the likeliest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ChoiceFrame<'a> {
    #[serde(borrow)]
    pub probabilities: Vec<(&'a str, f32)>,
    pub margin: f32,
}

/// A token of an answer, and the likeliest ones in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TokenLogprobsFrame<'a> {
    #[serde(borrow)]
    pub token: TokenLogprobFrame<'a>,
    pub top: Vec<TokenLogprobFrame<'a>>,
}

/// A token's bytes, and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TokenLogprobFrame<'a> {
    pub bytes: &'a [u8],
    pub logprob: f32,
}

/// A refusal or failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ErrorFrame<'a> {
    pub id: Option<&'a str>,
    pub code: Name,
    pub message: &'a str,
    pub retryable: bool,
    pub max_tokens_that_fit: Option<u32>,
    pub needs_ms: Option<u32>,
    pub draft: Option<&'a str>,
    pub escalated: bool,
}

/// Bytes that are no frame, or a frame that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The COBS code points beyond the frame, or holds a zero.
    #[error("the frame is not COBS")]
    Cobs,
    /// Bytes are left when all fields are read.
    #[error("the frame is {0} bytes longer than its fields")]
    TooLong(usize),
    /// The fields cannot be read.
    #[error("the frame is not of protocol version {VERSION}: {0}")]
    Fields(postcard::Error),
    /// The buffer is too small.
    #[error("the buffer is too small for the frame")]
    NoRoom,
}

/// Writes a frame, its zero byte included, to the head of `buffer`.
///
/// # Errors
/// [`FrameError::NoRoom`].
pub fn encode<'b>(
    frame: &impl Serialize,
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], FrameError> {
    postcard::to_slice_cobs(frame, buffer).map_err(|_| FrameError::NoRoom)
}

/// Appends a frame, its zero byte included.
pub fn append(frame: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    let mut room = 512;
    loop {
        out.resize(start + room, 0);
        match encode(frame, &mut out[start..]).map(|written| written.len()) {
            Ok(written) => return out.truncate(start + written),
            Err(_) => room *= 4,
        }
    }
}

/// Reads a client's frame in place; `bytes` are without the zero byte at the end.
///
/// # Errors
/// If it is not exactly one frame.
pub fn decode_client(bytes: &mut [u8]) -> Result<ClientFrame<'_>, FrameError> {
    decode(bytes)
}

/// Reads a daemon's frame in place; `bytes` are without the zero byte at the end.
///
/// # Errors
/// If it is not exactly one frame.
pub fn decode_server(bytes: &mut [u8]) -> Result<ServerFrame<'_>, FrameError> {
    decode(bytes)
}

fn decode<'b, T: Deserialize<'b>>(bytes: &'b mut [u8]) -> Result<T, FrameError> {
    let length = uncobs(bytes).ok_or(FrameError::Cobs)?;
    match postcard::take_from_bytes(&bytes[..length]) {
        Ok((frame, [])) => Ok(frame),
        Ok((_, rest)) => Err(FrameError::TooLong(rest.len())),
        Err(e) => Err(FrameError::Fields(e)),
    }
}

/// Undoes COBS in place and returns the length; postcard's own does not tell it, and so cannot
/// refuse bytes beyond the last field.
fn uncobs(bytes: &mut [u8]) -> Option<usize> {
    let (mut read, mut written) = (0, 0);
    while read < bytes.len() {
        let code = usize::from(bytes[read]);
        let run = read + 1..read + code;
        if code == 0 || run.end > bytes.len() || bytes[run.clone()].contains(&0) {
            return None;
        }
        read = run.end;
        bytes.copy_within(run, written);
        written += code - 1;
        if code < 255 && read < bytes.len() {
            bytes[written] = 0;
            written += 1;
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hello_is_these_bytes() {
        let mut buffer = [0; 16];
        let hello = ClientFrame::Hello { version: VERSION };
        // Variant 0, version 4: one zero to stuff.
        assert_eq!(encode(&hello, &mut buffer), Ok(&mut [1, 2, 4, 0][..]));
        assert_eq!(encode(&hello, &mut buffer[..2]), Err(FrameError::NoRoom));
    }

    #[test]
    fn a_frame_is_all_there_is() {
        assert_eq!(uncobs(&mut [1, 3, 1, 9]), Some(3));
        assert_eq!(decode_client(&mut [1, 3, 1, 9]), Err(FrameError::TooLong(1)));
        assert_eq!(decode_client(&mut [200, 1]), Err(FrameError::Cobs));
        assert!(matches!(decode_client(&mut []), Err(FrameError::Fields(_))));
    }

    proptest! {
        #[test]
        fn our_cobs_undoes_postcards(text in prop::collection::vec(0u8..3, 0..1200)) {
            let mut out = Vec::new();
            append(&text, &mut out);
            prop_assert_eq!(out.pop(), Some(0));
            prop_assert_eq!(decode::<Vec<u8>>(&mut out), Ok(text));
        }

        #[test]
        fn any_bytes_decode_or_err(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_client(&mut bytes.clone());
            let _ = decode_server(&mut bytes);
        }
    }
}
