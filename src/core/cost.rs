//! What steps cost on this board, learnt from the steps that were run.

use std::time::Duration;

/// Weight of one observation in the running averages.
const WEIGHT: f64 = 0.1;
/// An observation counts at most this many times the average: a stall is not a trend.
const OUTLIER: f64 = 4.0;
/// Steps with fewer tokens say little about the price of a further token.
const PREFILL_TOKENS: u32 = 8;

/// Running averages of step costs of one model, in microseconds.
///
/// A step of `n` tokens costs `decode + (n - 1) * token`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    decode_us: f64,
    token_us: f64,
}

impl Costs {
    /// Costs known beforehand: of a step with one token, and of each further token of a step.
    pub fn new(decode: Duration, token: Duration) -> Self {
        Self { decode_us: decode.as_secs_f64() * 1e6, token_us: token.as_secs_f64() * 1e6 }
    }

    /// The cost of a step with one token.
    pub fn decode(&self) -> Duration {
        from_us(self.decode_us)
    }

    /// The cost of each further token of a step.
    pub fn token(&self) -> Duration {
        from_us(self.token_us)
    }

    /// The price of feeding `prompt` tokens in chunks of `chunk` and then `new` tokens one by one.
    pub fn price(&self, prompt: u32, chunk: u32, new: u32) -> Duration {
        let chunks = f64::from(prompt.div_ceil(chunk.max(1)));
        let prefill =
            chunks * (self.decode_us - self.token_us).max(0.0) + f64::from(prompt) * self.token_us;
        from_us(prefill + f64::from(new) * self.decode_us)
    }

    /// The largest chunk whose step stays within `bound`, in `8..=most`.
    pub fn chunk_within(&self, bound: Duration, most: u32) -> u32 {
        if self.token_us <= 0.0 {
            return most;
        }
        let room = bound.as_secs_f64() * 1e6 - self.decode_us;
        let tokens = (room / self.token_us).max(0.0).min(f64::from(most)) as u32;
        (tokens + 1).clamp(PREFILL_TOKENS.min(most), most)
    }

    /// Learns from a step of one row with `tokens` tokens.
    pub fn observe(&mut self, tokens: u32, took: Duration) {
        let took = took.as_secs_f64() * 1e6;
        if tokens == 1 {
            learn(&mut self.decode_us, took);
        } else if tokens >= PREFILL_TOKENS {
            learn(&mut self.token_us, (took - self.decode_us).max(0.0) / f64::from(tokens - 1));
        }
    }
}

fn learn(average: &mut f64, seen: f64) {
    if *average <= 0.0 {
        *average = seen;
    } else {
        *average += WEIGHT * (seen.min(OUTLIER * *average) - *average);
    }
}

fn from_us(us: f64) -> Duration {
    Duration::from_secs_f64((us / 1e6).clamp(0.0, 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn prices_follow_what_was_observed() {
        let mut costs = Costs::default();
        assert_eq!(costs.price(100, 32, 10), Duration::ZERO);
        costs.observe(1, ms(10));
        costs.observe(11, ms(30));
        assert_eq!(costs.price(11, 32, 0), ms(30));
        assert_eq!(costs.price(22, 11, 2), ms(80));
    }

    #[test]
    fn a_stall_moves_the_average_little_and_a_trend_moves_it() {
        let mut costs = Costs::new(ms(10), ms(1));
        costs.observe(1, ms(10_000));
        assert!(costs.decode() < ms(14));
        for _ in 0..100 {
            costs.observe(1, ms(20));
        }
        assert!(costs.decode() > ms(19));
    }

    #[test]
    fn chunks_keep_steps_within_the_bound() {
        let costs = Costs::new(ms(10), ms(1));
        assert_eq!(costs.chunk_within(ms(60), 512), 51);
        assert_eq!(costs.chunk_within(ms(1), 512), 8);
        assert_eq!(costs.chunk_within(ms(60), 32), 32);
        assert_eq!(Costs::default().chunk_within(ms(60), 64), 64);
    }
}
