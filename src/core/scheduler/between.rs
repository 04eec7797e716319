//! What goes on between steps: requests are looked at, steps decided on, answers sent on their way.
//!
//! Prices are those of steps; the more of a second goes elsewhere, the fewer steps it has. And now
//! and then the system has something else to do in the middle of a step: a reserve in proportion to
//! the price covers that for long answers, but not for those of a few tokens.

use crate::core::request::Time;
use std::time::Duration;

/// The share follows what was seen over about this much time.
const MEMORY: Duration = Duration::from_millis(500);
/// The most of the time that is believed to go elsewhere.
const MOST: f64 = 0.75;
/// A stall is forgotten by about two thirds over so many steps, since every step may be the one that
/// stalls, whatever it takes,
const STALL_STEPS: f64 = 4_000.0;
/// but not in less time than this,
const STALL_MEMORY: Duration = Duration::from_secs(2);
/// and longer ones than this and a step are no rule.
const LONGEST_STALL: Duration = Duration::from_millis(10);

/// The share of busy time that is not spent in steps, and how late single steps have been.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Between {
    /// When the last step ended, unless there was nothing to do since.
    last: Option<Time>,
    share: f64,
    stall: Duration,
}

impl Between {
    /// A step ended at `now`, that `took` so long, and was thought to take so long.
    pub(super) fn stepped(&mut self, now: Time, took: Duration, predicted: Duration) {
        let last = self.last.replace(now);
        let all = last.map_or(took, |last| now.since(last).max(took));
        let forgotten = all.as_secs_f64() / STALL_MEMORY.as_secs_f64();
        let kept = (-forgotten.min(1.0 / STALL_STEPS)).exp();
        let late = all.saturating_sub(predicted).min(LONGEST_STALL + predicted);
        self.stall = self.stall.mul_f64(kept).max(late);
        if last.is_some() {
            let all = all.as_secs_f64();
            let weight = 1.0 - (-all / MEMORY.as_secs_f64()).exp();
            let share = if all > 0.0 { 1.0 - took.as_secs_f64() / all } else { 0.0 };
            self.share += weight * (share - self.share);
        }
    }

    /// There is nothing to do.
    pub(super) const fn idle(&mut self) {
        self.last = None;
    }

    /// By how much a step may be late, as it was of late.
    pub(super) const fn stall(&self) -> Duration {
        self.stall
    }

    /// How long work takes with what goes on between its steps, as a percentage of its price.
    pub(super) fn percent(&self) -> u32 {
        (100.0 / (1.0 - self.share.clamp(0.0, MOST))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_what_is_seen_and_idling_is_no_work() {
        let (mut between, mut now) = (Between::default(), Time(0));
        let ms = Duration::from_millis;
        between.stepped(now, ms(1), ms(1));
        for _ in 0..2_000 {
            now = now.after(ms(2));
            between.stepped(now, ms(1), ms(1));
        }
        assert!((198..=200).contains(&between.percent()), "{}", between.percent());
        between.idle();
        now = now.after(ms(60_000));
        between.stepped(now, ms(1), ms(1));
        assert!(between.percent() >= 198);
        for _ in 0..5_000 {
            now = now.after(ms(1));
            between.stepped(now, ms(1), ms(1));
        }
        assert_eq!(between.percent(), 100);
    }

    #[test]
    fn a_stall_is_remembered_for_some_thousand_steps() {
        let ms = Duration::from_millis;
        let stalled = |step: u64| {
            let (mut between, mut now) = (Between::default(), Time(0));
            for took in std::iter::once(step + 6).chain(std::iter::repeat_n(step, 2_000)) {
                now = now.after(ms(took));
                between.stepped(now, ms(took), ms(step));
            }
            (between, now)
        };
        for step in [1, 10] {
            let (between, _) = stalled(step);
            assert!(between.stall() > ms(3) && between.stall() < ms(4), "{:?}", between.stall());
        }
        let (mut between, now) = stalled(1);
        between.stepped(now.after(ms(500)), ms(500), ms(1));
        assert_eq!(between.stall(), ms(11), "one long stall is no rule");
    }
}
