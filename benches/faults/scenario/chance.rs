//! Random numbers from a seed that is printed, so that a run can be repeated. Repeated is the plan
//! of the faults; what they hit also depends on the machine.

use super::random::Random;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What happens when, from one seed.
#[derive(Debug, Clone)]
pub struct Chance(Random);

impl Chance {
    /// The numbers of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    /// A seed from the clock.
    pub fn fresh_seed() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64 % 1_000_000_000
    }

    /// Below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// Whether one of `n` cases came.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.0.one_in(n)
    }

    /// Between two times.
    pub fn between_ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.below(high - low + 1))
    }
}
