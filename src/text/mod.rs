//! Text to tokens and back: tokenizer, chat templates, incremental decoding, stop strings.
//!
//! Text that came from outside never becomes a control token (see [`ControlTokens`]). Knows
//! nothing of engines, requests or time; templates get their clock from the caller.

mod control;
mod detokenize;
mod error;
mod special;
mod stop;
mod template;
mod tokenizer;
mod vocab;

pub use control::{AddedToken, ControlTokens, Rendered, Segment};
pub use detokenize::Detokenizer;
pub use error::TextError;
pub use special::SpecialNames;
pub use stop::{StopStrings, Stopped};
pub use template::{ChatTemplate, Clock, Conversation, TaskTemplate, ToolFormat, call_message};
pub use tokenizer::{MAX_TEXT_BYTES, Tokenizer};
pub use vocab::TokenTable;
