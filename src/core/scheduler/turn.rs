//! Whose turn it is, who shares the step, and who gives up a slot.

use super::{MAX_SESSIONS, PlannedRow, Scheduler, Step};
use crate::core::plan::MAX_ROWS;
use crate::core::request::Time;
use crate::core::session::Session;

impl Scheduler {
    pub(super) fn plan_step(&mut self, now: Time) -> Option<Step> {
        let relaxed = self.keeps_promises(now.after(self.limits.max_step), None, None);
        let leader = match relaxed {
            true => self.pick_in_turn(now).or_else(|| self.pick_earliest()),
            false => self.pick_earliest().or_else(|| self.pick_in_turn(now)),
        }?;
        self.seat(leader);
        self.steps += 1;
        let decode = self.model(self.sessions[leader].ticket.model).costs.decode();
        let company = relaxed || self.keeps_promises(now.after(decode), None, None);
        let most = if company { MAX_ROWS } else { 1 };
        let mut step = Step::new();
        for index in self.companions(leader, most) {
            let row = self.row(index);
            self.sessions[index].last_step = self.steps;
            self.sessions[index].running = row.count;
            step.push(row).expect("companions are at most MAX_ROWS");
        }
        Some(step)
    }

    /// The session of the highest priority that has waited longest for its turn, and that may hold
    /// a slot without breaking a promise.
    fn pick_in_turn(&self, now: Time) -> Option<usize> {
        let later = now.after(self.limits.max_step);
        let may_run = |s: &Session| {
            s.slot.is_some()
                || (self.can_seat(s)
                    && (!s.is_promised() || self.keeps_promises(later, None, Some(s.ticket.id))))
        };
        let mut order: heapless::Vec<usize, MAX_SESSIONS> = (0..self.sessions.len()).collect();
        order.sort_unstable_by_key(|&i| {
            let session = &self.sessions[i];
            (session.ticket.priority, session.last_step, session.due())
        });
        order.into_iter().find(|&i| may_run(&self.sessions[i]))
    }

    /// The session with the earliest deadline of those that were promised theirs.
    fn pick_earliest(&self) -> Option<usize> {
        (0..self.sessions.len())
            .filter(|&i| {
                let session = &self.sessions[i];
                session.is_promised() && (session.slot.is_some() || self.can_seat(session))
            })
            .min_by_key(|&i| self.sessions[i].due())
    }

    fn can_seat(&self, session: &Session) -> bool {
        self.model(session.ticket.model).ledger.free() > 0 || self.evictable(session).is_some()
    }

    /// The best-effort session that would lose its slot to `session`: a promise outweighs a best
    /// effort, and a higher priority outweighs a lower one.
    fn evictable(&self, session: &Session) -> Option<usize> {
        (0..self.sessions.len())
            .filter(|&i| {
                let other = &self.sessions[i];
                other.slot.is_some()
                    && other.ticket.model == session.ticket.model
                    && !other.is_promised()
                    && (session.is_promised() || session.ticket.priority < other.ticket.priority)
            })
            .max_by_key(|&i| (self.sessions[i].ticket.priority, self.sessions[i].due()))
    }

    /// Gives the session a slot, if need be that of a best-effort session.
    fn seat(&mut self, index: usize) {
        if self.sessions[index].slot.is_some() {
            return;
        }
        let model = usize::from(self.sessions[index].ticket.model.0);
        if self.models[model].ledger.free() == 0
            && let Some(victim) = self.evictable(&self.sessions[index])
            && let Some(slot) = self.sessions[victim].slot.take()
        {
            self.sessions[victim].fed = 0;
            self.models[model].ledger.release(slot);
        }
        self.sessions[index].slot = self.models[model].ledger.reserve();
    }

    /// The leader and those who may share its step, those first whose last turn is longest ago.
    fn companions(&self, leader: usize, most: usize) -> heapless::Vec<usize, MAX_ROWS> {
        let first = &self.sessions[leader];
        let caps = &self.model(first.ticket.model).caps;
        let mut rows = heapless::Vec::new();
        rows.push(leader).expect("room for one");
        let most = most.min(usize::from(caps.max_rows));
        if most < 2 || first.pending() != 1 {
            return rows;
        }
        let shares = |s: &Session| {
            s.slot.is_some()
                && s.pending() == 1
                && s.ticket.model == first.ticket.model
                && s.ticket.priority == first.ticket.priority
        };
        let mut others: heapless::Vec<usize, MAX_SESSIONS> = (0..self.sessions.len())
            .filter(|&i| i != leader && shares(&self.sessions[i]))
            .collect();
        others.sort_unstable_by_key(|&i| self.sessions[i].last_step);
        rows.extend(others.into_iter().take(most - 1));
        rows
    }

    fn row(&self, index: usize) -> PlannedRow {
        let session = &self.sessions[index];
        let count = session.pending().min(self.chunk(self.model(session.ticket.model)));
        PlannedRow {
            id: session.ticket.id,
            slot: session.slot.expect("rows are made of seated sessions"),
            pos: session.fed,
            count,
            logits: count == session.pending(),
        }
    }
}
