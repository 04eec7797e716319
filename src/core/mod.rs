//! The part that decides: pure state machines without clock, I/O, threads or channels.
//!
//! Everything here is driven by `handle(now, input)` and `poll(now)`, so that deadlines, fairness
//! and memory can be tested in virtual time. It must not know of engines, text or transports.

pub mod error;
pub mod plan;
pub mod request;
