//! How long to wait before the next attempt to connect. Pure: chance is an argument.

use std::time::Duration;

/// The first wait.
const FLOOR: Duration = Duration::from_millis(200);
/// The longest wait.
const CEILING: Duration = Duration::from_secs(30);
/// A connection of this age was a good one, even if nothing happened on it.
const GOOD_AGE: Duration = Duration::from_secs(30);
/// So was one that did something useful and became this old.
const USEFUL_AGE: Duration = Duration::from_secs(5);
/// Two clients with one id end each other's connections at the age of the other's wait; so these
/// must be older than any wait before they count as good.
const CONTESTED_AGE: Duration = Duration::from_secs(300);

/// How a connection was, when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    /// Since CONNACK.
    pub age: Duration,
    /// A message came, or one of ours was confirmed.
    pub useful: bool,
    /// Another client has, or may have, taken the session over.
    pub contested: bool,
}

impl Past {
    /// The same, known to have ended otherwise.
    fn uncontested(self) -> Self {
        Self { contested: false, ..self }
    }

    /// Whether the trouble before it is over.
    pub fn was_good(self) -> bool {
        match (self.contested, self.useful) {
            (true, _) => self.age >= CONTESTED_AGE,
            (false, true) => self.age >= USEFUL_AGE,
            (false, false) => self.age >= GOOD_AGE,
        }
    }
}

/// Doubles from 0.2 to 30 seconds.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// The last connection, if it may have been taken over.
    doubtful: Option<Past>,
}

impl Backoff {
    /// The wait after a failure: of an attempt (`past` is none) or of a connection. `chance` is
    /// from 0 to 1, and takes off up to a fifth, so that many devices do not come back as one.
    pub fn after(&mut self, past: Option<Past>, chance: f64) -> Duration {
        // An attempt that fails clears up a doubt: not another client was there, the broker was not.
        let doubtful = std::mem::replace(&mut self.doubtful, past.filter(|p| p.contested));
        let cleared = doubtful.filter(|_| past.is_none()).map(Past::uncontested);
        if past.or(cleared).is_some_and(Past::was_good) {
            self.failures = 0;
        }
        let wait = FLOOR.saturating_mul(1 << self.failures.min(16)).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - 0.2 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(age_s: u64, useful: bool, contested: bool) -> Option<Past> {
        Some(Past { age: Duration::from_secs(age_s), useful, contested })
    }

    /// The attempts within `limit` at waits that are as short as chance makes them.
    fn attempts(past: Option<Past>, limit: Duration) -> usize {
        let (mut backoff, mut at, mut count) = (Backoff::default(), Duration::ZERO, 0);
        while at <= limit {
            count += 1;
            at += backoff.after(past, 1.0);
        }
        count
    }

    #[test]
    fn it_doubles_up_to_the_ceiling() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.after(None, 0.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.after(None, 0.0), CEILING, "for ever");
    }

    #[test]
    fn an_absent_broker_is_asked_at_most_forty_times_in_ten_minutes() {
        let ten_minutes = Duration::from_secs(600);
        let count = attempts(None, ten_minutes);
        assert!((20..=40).contains(&count), "{count}");
        // One that accepts and hangs up is no better.
        assert_eq!(attempts(past(1, true, false), ten_minutes), count);
        assert_eq!(attempts(past(29, false, false), ten_minutes), count);
        // Nor is a fight over the client id.
        assert_eq!(attempts(past(30, true, true), ten_minutes), count);
    }

    #[test]
    fn a_good_connection_starts_it_anew() {
        for good in [past(30, false, false), past(5, true, false), past(300, true, true)] {
            let mut backoff = Backoff { failures: 9, doubtful: None };
            assert_eq!(backoff.after(good, 0.0), FLOOR, "{good:?}");
        }
    }

    #[test]
    fn a_broker_that_died_without_a_word_is_no_other_client() {
        // It hung up on a good connection, and then nobody was there.
        let mut backoff = Backoff { failures: 9, doubtful: None };
        assert_eq!(backoff.after(past(60, true, true), 0.0), CEILING, "perhaps another client");
        assert_eq!(backoff.after(None, 0.0), FLOOR, "it was the broker");
        assert_eq!(backoff.after(None, 0.0), 2 * FLOOR, "which is still away");
        // One that was not good clears nothing up.
        backoff.failures = 9;
        assert_eq!(backoff.after(past(1, true, true), 0.0), CEILING);
        assert_eq!(backoff.after(None, 0.0), CEILING);
    }
}
