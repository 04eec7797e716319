//! What the runtime may take, as plain figures.

use std::time::Duration;

/// What the runtime may take, and what requests get that ask for nothing else.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests that may wait for a slot.
    pub queue: usize,
    /// No step is planned to take longer.
    pub max_step: Duration,
    /// The deadline of requests that name none.
    pub deadline: Duration,
    /// The bound on the first token of requests that name none.
    pub first_token: Option<Duration>,
    /// The most tokens of answers that name no limit.
    pub max_tokens: u32,
    /// The largest prompt, in bytes.
    pub prompt_bytes: usize,
}
