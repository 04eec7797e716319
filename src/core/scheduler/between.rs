//! What goes on between steps: requests are looked at, steps decided on, answers sent on their way.
//!
//! Prices are those of steps; the more of a second goes elsewhere, the fewer steps it has.

use crate::core::request::Time;
use std::time::Duration;

/// The share follows what was seen over about this much time.
const MEMORY: Duration = Duration::from_millis(500);
/// The most of the time that is believed to go elsewhere.
const MOST: f64 = 0.75;

/// The share of busy time that is not spent in steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Between {
    /// When the last step ended, unless there was nothing to do since.
    last: Option<Time>,
    share: f64,
}

impl Between {
    /// A step ended at `now`, after it `took` so long.
    pub(super) fn stepped(&mut self, now: Time, took: Duration) {
        if let Some(last) = self.last.replace(now) {
            let all = now.since(last).max(took).as_secs_f64();
            let weight = 1.0 - (-all / MEMORY.as_secs_f64()).exp();
            let share = if all > 0.0 { 1.0 - took.as_secs_f64() / all } else { 0.0 };
            self.share += weight * (share - self.share);
        }
    }

    /// There is nothing to do.
    pub(super) const fn idle(&mut self) {
        self.last = None;
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
        between.stepped(now, ms(1));
        for _ in 0..2_000 {
            now = now.after(ms(2));
            between.stepped(now, ms(1));
        }
        assert!((198..=200).contains(&between.percent()), "{}", between.percent());
        between.idle();
        now = now.after(ms(60_000));
        between.stepped(now, ms(1));
        assert!(between.percent() >= 198);
        for _ in 0..5_000 {
            now = now.after(ms(1));
            between.stepped(now, ms(1));
        }
        assert_eq!(between.percent(), 100);
    }
}
