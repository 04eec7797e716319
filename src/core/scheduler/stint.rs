//! Several steps of the same sessions, decided on at once.
//!
//! To decide takes up to a tenth of a millisecond, which is much of a step of a small model. So what
//! was decided holds for as many steps of one token as fit into [`STINT`], unless anything happens
//! meanwhile: a request comes or ends, a step takes longer than it may, a grammar forces tokens.

use super::Scheduler;
use super::forecast::First;
use super::turn::Rows;
use crate::core::pressure::Pressure;
use std::time::Duration;

/// Decisions hold for about so long.
const STINT: Duration = Duration::from_millis(2);

/// The steps that are left of what was decided.
#[derive(Debug, Clone)]
pub(super) struct Stint {
    rows: First,
    left: u32,
    /// No step may take longer.
    limit: Duration,
}

impl Scheduler {
    /// How many steps of these sessions are decided on at once, and what they are thought to take
    /// together.
    pub(super) fn stint_of(&self, rows: &Rows) -> (u32, Duration) {
        let step = self.step_time(rows);
        let sessions = || rows.iter().map(|&i| &self.sessions[i]);
        let longest = sessions().map(|s| s.to_come()).min().unwrap_or(1);
        let is_even = sessions().all(|s| s.pending() == 1) && self.pressure == Pressure::default();
        if !is_even || longest < 2 || 2 * step > STINT {
            return (1, step);
        }
        let steps = (STINT.as_nanos() / step.as_nanos().max(1)).clamp(1, longest.into()) as u32;
        let positions = sessions().map(|s| u64::from(s.fed)).sum();
        let model = self.model(sessions().next().expect("a leader").ticket.model);
        (steps, model.costs.decode_run(rows.len() as u32, positions, steps))
    }

    /// Decides on steps of these sessions, of which the first comes now.
    pub(super) fn begin_stint(&mut self, rows: &Rows) {
        let (steps, took) = self.stint_of(rows);
        self.stint = (steps > 1).then(|| Stint {
            rows: rows.iter().map(|&i| self.sessions[i].ticket.id).collect(),
            left: steps - 1,
            limit: took / steps * self.margin() / 100,
        });
    }

    /// The sessions of the next step, if they were decided on before.
    pub(super) fn go_on(&mut self) -> Option<Rows> {
        let stint = self.stint.as_mut().filter(|stint| stint.left > 0)?;
        stint.left -= 1;
        let index = |id| self.sessions.iter().position(|s| s.ticket.id == id);
        stint.rows.iter().map(|&id| index(id)).collect()
    }

    /// A step took so long, and ended as it should or not.
    pub(super) fn hold_stint(&mut self, took: Duration, as_it_should: bool) {
        if !as_it_should || self.stint.as_ref().is_some_and(|stint| took > stint.limit) {
            self.stint = None;
        }
    }
}
