//! Tokens of one watch in a sliding hour.

use std::collections::VecDeque;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
/// What a run is taken to cost before one has been seen.
const FIRST_GUESS: u64 = 256;

/// Counts by the minute; a minute leaves when all of it is older than an hour.
#[derive(Debug)]
pub(super) struct Budget {
    per_hour: Option<u64>,
    minutes: VecDeque<(u64, u64)>,
    used: u64,
    /// The dearest run so far.
    dearest: Option<u64>,
    under_way: u64,
}

impl Budget {
    pub const fn new(per_hour: Option<u64>) -> Self {
        Self { per_hour, minutes: VecDeque::new(), used: 0, dearest: None, under_way: 0 }
    }

    /// Starts a run if the hour has tokens left, those of runs under way counted by what runs have
    /// cost; so it is overdrawn by one run at most.
    pub fn start(&mut self, now_ms: u64) -> bool {
        let used = self.used(now_ms);
        let reserved = self.under_way * self.dearest.unwrap_or(FIRST_GUESS);
        let allowed = self.per_hour.is_none_or(|most| used + reserved < most);
        self.under_way += u64::from(allowed);
        allowed
    }

    /// A run has ended.
    pub fn end(&mut self, now_ms: u64, tokens: u32) {
        self.under_way = self.under_way.saturating_sub(1);
        self.dearest = self.dearest.max(Some(u64::from(tokens)).filter(|&t| t > 0));
        self.used(now_ms);
        self.used += u64::from(tokens);
        let minute = now_ms / MINUTE_MS;
        match self.minutes.back_mut() {
            Some((last, sum)) if *last == minute => *sum += u64::from(tokens),
            _ => self.minutes.push_back((minute, u64::from(tokens))),
        }
    }

    /// Tokens of the hour that ends now.
    pub fn used(&mut self, now_ms: u64) -> u64 {
        while let Some(&(minute, sum)) = self.minutes.front() {
            if (minute + 1) * MINUTE_MS + HOUR_MS > now_ms {
                break;
            }
            self.minutes.pop_front();
            self.used -= sum;
        }
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_slides_and_runs_under_way_count() {
        let mut budget = Budget::new(Some(500));
        assert!(budget.start(0));
        assert!(budget.start(0), "one guess of 256 is below 500");
        assert!(!budget.start(0), "two are not");
        budget.end(0, 400);
        budget.end(30_000, 100);
        assert_eq!(budget.used(30_000), 500);
        assert!(!budget.start(HOUR_MS));
        assert!(budget.start(HOUR_MS + MINUTE_MS));
        assert!(budget.minutes.is_empty());
        assert!(!budget.start(HOUR_MS + MINUTE_MS + 1) || budget.dearest == Some(400));
        let mut none = Budget::new(None);
        (0..1000).for_each(|_| assert!(none.start(0)));
    }

    #[test]
    fn it_keeps_an_hour_of_minutes_at_most() {
        let mut budget = Budget::new(Some(1));
        for s in 0..100_000u64 {
            budget.end(s * 1000, 1);
        }
        assert!(budget.minutes.len() <= 62, "{}", budget.minutes.len());
        assert!((3_600..=3_660).contains(&budget.used(99_999_000)));
    }
}
