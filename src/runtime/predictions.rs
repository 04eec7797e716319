//! How well steps and requests were predicted: the relative errors of the last ones.

use serde_json::{Value, json};
use std::time::Duration;

/// How many errors of each kind are kept.
const KEPT: usize = 512;

/// The last errors.
#[derive(Debug, Default)]
pub struct Predictions {
    steps: Errors,
    requests: Errors,
}

impl Predictions {
    /// Notes a step that was thought to take `predicted`, and took `took`.
    pub fn step(&mut self, predicted: Duration, took: Duration) {
        self.steps.note(predicted, took);
    }

    /// Notes all steps of a request, by what they were thought to take when the first one began.
    pub fn request(&mut self, predicted: Duration, took: Duration) {
        if !took.is_zero() {
            self.requests.note(predicted, took);
        }
    }

    /// Median and 90th percentile in per cent, of steps and of whole requests.
    pub fn report(&self) -> Value {
        json!({ "steps": self.steps.report(), "requests": self.requests.report() })
    }
}

/// Errors in thousandths of what was seen, in a ring.
#[derive(Debug)]
struct Errors {
    thousandths: [u16; KEPT],
    seen: usize,
}

impl Default for Errors {
    fn default() -> Self {
        Self { thousandths: [0; KEPT], seen: 0 }
    }
}

impl Errors {
    fn note(&mut self, predicted: Duration, took: Duration) {
        let error = predicted.abs_diff(took).as_secs_f64() / took.as_secs_f64().max(1e-9);
        self.thousandths[self.seen % KEPT] = (error * 1000.0).min(f64::from(u16::MAX)) as u16;
        self.seen += 1;
    }

    fn report(&self) -> Value {
        let mut errors = self.thousandths[..self.seen.min(KEPT)].to_vec();
        errors.sort_unstable();
        let percent = |share: usize| {
            errors.get(errors.len() * share / 100).map(|thousandths| f64::from(*thousandths) / 10.0)
        };
        json!({
            "samples": errors.len(), "median_percent": percent(50), "p90_percent": percent(90),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_reported() {
        let mut predictions = Predictions::default();
        assert_eq!(predictions.report()["steps"]["median_percent"], Value::Null);
        let ms = Duration::from_millis;
        for _ in 0..KEPT {
            predictions.step(ms(300), ms(100));
        }
        for _ in 0..KEPT - 40 {
            predictions.step(ms(11), ms(10));
        }
        let report = predictions.report()["steps"].take();
        assert_eq!(report["samples"], KEPT);
        assert_eq!(
            (&report["median_percent"], &report["p90_percent"]),
            (&json!(10.0), &json!(10.0))
        );
        (0..20).for_each(|_| predictions.step(ms(300), ms(100)));
        assert_eq!(predictions.report()["steps"]["median_percent"], 10.0);
    }
}
