//! Runs requests: admission turns what clients ask into work, one thread runs it step by step.
//!
//! Transports hold a [`Handle`] and hear back through [`Outbox`]es. Nothing here blocks a
//! transport, and nothing a client does can block the inference thread.

mod admission;
mod calibrate;
mod ending;
mod exchange;
mod handle;
mod inference;
mod job;
mod judge;
mod limits;
mod logprobs;
mod model;
mod outbox;
mod overrun;
mod predictions;
mod prompt;
mod reception;
mod service;
mod shaped;
mod shapes;
mod shared;
mod start;

pub use calibrate::costs;
pub use exchange::{Candidate, Exchange, ExchangeError};
pub use handle::Handle;
pub use limits::Limits;
pub use model::{AskedForm, Model, ModelError, Reading, ReadyForm, ReadyTask};
pub use outbox::{Asked, Event, Origin, Outbox, Place};
pub use prompt::user_text;
pub use reception::Bounds;
pub use service::Service;
pub use shapes::{Shapes, Wanted};
pub use shared::Figures;
pub use start::Runtime;
