//! Who comes first where time is not short: the classes, what background work is owed, and rest.
//!
//! Urgent goes first, always. Normal goes before background, but background work that waits is
//! owed a small share of the engine's time, and comes before normal work while it has that to its
//! credit: it is slow under load, never starved. Heat lowers its share, down to nothing.

use super::Scheduler;
use crate::core::request::{Priority, Time};
use crate::core::session::Session;
use std::time::Duration;

/// What waiting background work is owed of the time that other work takes, in per cent.
const OWED_PERCENT: i64 = 10;
/// The most time that it can have to its credit, or overdraw.
const CREDIT: Duration = Duration::from_millis(500);

/// What background work is owed, and until when the engine rests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    credit_us: i64,
    rest_until: Time,
    background_rests_until: Time,
}

impl Scheduler {
    /// The class of a session in the order of service.
    pub(super) fn rank(&self, session: &Session) -> u8 {
        match session.ticket.priority {
            Priority::Urgent => 0,
            Priority::Background if self.share.credit_us > 0 => 1,
            Priority::Normal => 2,
            Priority::Background => 3,
        }
    }

    /// Whether the session must leave the engine alone for now, although no promise needs it.
    pub(super) fn must_wait(&self, now: Time, session: &Session) -> bool {
        match session.ticket.priority {
            Priority::Urgent => false,
            Priority::Normal => now < self.share.rest_until,
            Priority::Background => {
                let until = self.share.rest_until.max(self.share.background_rests_until);
                now < until || self.pressure.background_percent == 0
            }
        }
    }

    /// When somebody who had to wait may go on.
    pub(super) fn rest_ends(&self, now: Time) -> Option<Time> {
        let rests = [self.share.rest_until, self.share.background_rests_until];
        rests.into_iter().filter(|until| *until > now && !self.sessions.is_empty()).min()
    }

    /// Books a step of a session of `priority` that ended at `now`.
    pub(super) fn book(&mut self, now: Time, priority: Priority, took: Duration) {
        let took_us = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let most = CREDIT.as_micros() as i64;
        let waits = self.sessions.iter().any(|s| s.ticket.priority == Priority::Background);
        let credit = match priority {
            _ if !waits => 0,
            Priority::Background => self.share.credit_us - took_us,
            _ => self.share.credit_us + took_us / (100 / OWED_PERCENT),
        };
        self.share.credit_us = credit.clamp(-most, most);
        self.share.rest_until = now.after(pause(took, 100 - self.pressure.rest_percent.min(99)));
        if priority == Priority::Background {
            let share = self.pressure.background_percent.clamp(1, 100);
            self.share.background_rests_until = now.after(pause(took, share));
        }
    }
}

/// The pause after work of `took` that leaves it a share of `percent` of the time.
fn pause(took: Duration, percent: u8) -> Duration {
    let percent = u32::from(percent);
    took * (100 - percent) / percent
}
