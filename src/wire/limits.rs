//! What a message may hold; `docs/protocol.md` states the same figures.

use std::ops::RangeInclusive;

/// Bytes of one line or frame, by default.
pub const MESSAGE_BYTES: usize = 256 * 1024;
/// Bytes of a client's id.
pub const ID_BYTES: usize = 128;
/// Bytes of a task's name.
pub const TASK_BYTES: usize = 64;
/// Turns of a conversation.
pub const MESSAGES: usize = 256;
/// Stop strings.
pub const STOPS: usize = 16;
/// Bytes of one stop string.
pub const STOP_BYTES: usize = 256;
/// Labels of a choice.
pub const CHOICES: usize = 256;
/// Bytes of one label.
pub const CHOICE_BYTES: usize = 1024;
/// Tools of one request, and calls of one message.
pub const TOOLS: usize = 32;
/// Tokens that are named at each place of an answer.
pub const TOP_LOGPROBS: u8 = 5;
/// Tokens that are named in one answer, those of the answer itself included.
pub const LOGPROBS: u32 = 2048;
/// Levels of JSON inside a message, the message itself included.
pub const JSON_DEPTH: usize = 127;

/// Valid temperatures.
pub const TEMPERATURE: RangeInclusive<f32> = 0.0..=10.0;
/// Valid `min_p`.
pub const MIN_P: RangeInclusive<f32> = 0.0..=1.0;
/// Valid frequency and presence penalties, as OpenAI has them.
pub const PENALTY: RangeInclusive<f32> = -2.0..=2.0;
/// The largest repetition penalty; the smallest is above zero.
pub const REPETITION_PENALTY_MAX: f32 = 10.0;

/// The roles of a message.
pub const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
