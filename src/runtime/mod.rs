//! Runs requests: admission turns what clients ask into work, one thread runs it step by step.
//!
//! Transports hold a [`Handle`] and hear back through [`Outbox`]es. Nothing here blocks a
//! transport, and nothing a client does can block the inference thread.

mod handle;
mod service;
mod shared;

pub use handle::{Event, Handle, Origin, Outbox};
pub use service::Service;
