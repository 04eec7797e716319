//! Templates that render as Hugging Face's `apply_chat_template` does.
//!
//! Chat templates come with models and are written for Python's Jinja; task templates come from
//! the configuration and use the same environment. Both run under limits: instructions, depth and
//! output.

mod chat;
mod env;
mod json;
mod python;
mod time;
mod tools;

pub use chat::{ChatTemplate, Conversation};
pub use env::TaskTemplate;
pub use time::Clock;
pub use tools::{ToolFormat, call_message};
