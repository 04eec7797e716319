//! The part that decides: pure state machines without clock, I/O, threads or channels.
//!
//! Everything here is driven by `handle(now, input)` and `poll(now)`, so that deadlines, fairness
//! and memory can be tested in virtual time. It must not know of engines, text or transports.

pub mod cost;
pub mod cpus;
pub mod error;
pub mod ledger;
pub mod plan;
pub mod pressure;
pub mod provider;
pub mod request;
pub mod scheduler;
pub mod session;
pub mod tool;
pub mod topic;
