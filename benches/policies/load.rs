//! Requests by chance, the same ones for the same seed: the mix of `docs/contracts.md`.

use crate::random::Random;
use slmd::core::plan::ModelId;
use slmd::core::request::{Deadline, Priority, RequestId, Time};
use slmd::core::session::Ticket;
use std::time::Duration;

/// The longest prompt and the longest answer, in tokens; the shortest have one.
pub const LONGEST: (u32, u32) = (256, 128);
/// The shares of urgent, normal and background requests in per cent, and how many times the time that
/// they take alone they may take.
const CLASSES: [(u64, (f64, f64)); 3] = [(10, (2.0, 8.0)), (70, (2.0, 16.0)), (20, (6.0, 40.0))];

/// One request, before it is known when it comes.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    pub prompt_tokens: u32,
    pub max_new: u32,
    pub priority: Priority,
    /// How many times the time that it takes alone it may take.
    pub slack: f64,
    /// The gap before it, in mean gaps.
    pub gap: f64,
}

impl Offer {
    /// The same as a ticket, of a request that comes at `at` and takes `alone` by itself.
    pub fn ticket(&self, id: u64, at: Time, alone: Duration) -> Ticket {
        let answer = at.after(alone.mul_f64(self.slack));
        Ticket {
            id: RequestId(id),
            model: ModelId(0),
            prompt_tokens: self.prompt_tokens,
            max_new: self.max_new,
            least: None,
            depth: None,
            priority: self.priority,
            deadline: Deadline { answer, first_token: None, best_effort: false },
            arrived: at,
        }
    }
}

/// An endless row of requests.
pub struct Load(Random);

impl Load {
    pub const fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    /// From 0 to 1, never 1.
    fn share(&mut self) -> f64 {
        (self.0.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Short ones are as likely as long ones.
    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.share())
    }

    fn class(&mut self) -> usize {
        let at = self.0.below(100);
        let (urgent, normal) = (CLASSES[0].0, CLASSES[1].0);
        usize::from(at >= urgent) + usize::from(at >= urgent + normal)
    }
}

impl Iterator for Load {
    type Item = Offer;

    fn next(&mut self) -> Option<Offer> {
        let class = self.class();
        let (low, high) = CLASSES[class].1;
        Some(Offer {
            prompt_tokens: self.log_uniform(1.0, f64::from(LONGEST.0) + 1.0) as u32,
            max_new: self.log_uniform(1.0, f64::from(LONGEST.1) + 1.0) as u32,
            priority: Priority::ALL[class],
            slack: self.log_uniform(low, high),
            gap: -(1.0 - self.share()).ln(),
        })
    }
}
