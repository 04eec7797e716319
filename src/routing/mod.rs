//! What becomes of a request beside the model's answer: tools that are run on this device, and others who
//! are told or asked when the answer is not good enough.
//!
//! A [`Router`] is a [`Service`](crate::runtime::Service) like the runtime below it, so that no transport
//! knows the difference. Requests of tasks with neither tools nor an escalation pass through it as they
//! are. Of the others, the terminal reply comes here first, to a task of the event loop that each has
//! (`request`): it runs tools and submits again, or escalates, and sends the client its one reply by the
//! deadline. Nothing here blocks the event loop, and no prompt leaves the device unless a task says so.

mod counters;
mod endpoint;
mod escalation;
mod request;
mod router;
mod routes;
mod tools;

pub use endpoint::Endpoint;
pub use router::{Router, Slot};
pub use routes::{BoundTool, Routes};
pub use tools::{Notice, Then};
