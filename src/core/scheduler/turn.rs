//! Whose turn it is, who shares the step, and who gives up a slot.

use super::forecast::{EXACT, First, Tasks, copy, unseat};
use super::{MAX_SESSIONS, PlannedRow, Scheduler, Step, load};
use crate::core::cost::next_chunk;
use crate::core::plan::MAX_ROWS;
use crate::core::request::{Priority, RequestId, Time};
use crate::core::session::Session;
use std::time::Duration;

/// The rows of a step, by index of their sessions, the leader first.
pub(super) type Rows = heapless::Vec<usize, MAX_ROWS>;

/// The slot that a session runs in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seat {
    /// It has one.
    Its,
    /// One that nobody holds.
    Free,
    /// That of another session.
    Of(usize),
}

impl Scheduler {
    pub(super) fn plan_step(&mut self, now: Time) -> Option<Step> {
        let rows = match self.go_on() {
            Some(rows) => rows,
            None => self.decide(now)?,
        };
        self.steps += 1;
        let mut step = Step::new();
        for &index in &rows {
            let row = self.row(index, rows.len());
            self.sessions[index].last_step = self.steps;
            self.sessions[index].running = row.count;
            step.push(row).expect("as many as rows");
        }
        Some(step)
    }

    fn decide(&mut self, now: Time) -> Option<Rows> {
        let promised = self.promised(now);
        let rows = match self.pick_in_turn(now, &promised) {
            Some((leader, seat)) => {
                self.seat(leader, seat);
                self.companions(leader)
            }
            None => self.pick_by_promise(now, &promised)?,
        };
        self.begin_stint(&rows);
        Some(rows)
    }

    /// The first of the order of service whose step leaves every promise as it is.
    fn pick_in_turn(&self, now: Time, promised: &Tasks) -> Option<(usize, Seat)> {
        let mut order = heapless::Vec::<usize, MAX_SESSIONS>::new();
        order.extend(0..self.sessions.len());
        order.sort_unstable_by_key(|&i| {
            let session = &self.sessions[i];
            (self.rank(session), session.last_step, session.due())
        });
        order.iter().find_map(|&i| Some((i, self.may_run(now, i, promised)?)))
    }

    /// Where the session would run, if every promise is kept after its step.
    fn may_run(&self, now: Time, index: usize, promised: &Tasks) -> Option<Seat> {
        let session = &self.sessions[index];
        if self.must_wait(now, session) {
            return None;
        }
        let rows = self.companions(index);
        let (steps, took) = self.stint_of(&rows);
        let later = now.after(took * self.margin() / 100 * self.between.percent() / 100);
        let fed = |&i: &usize| (self.sessions[i].ticket.id, steps * self.count(i, rows.len()));
        let tokens: heapless::Vec<(RequestId, u32), MAX_ROWS> = rows.iter().map(fed).collect();
        let keeps = |seat: &Seat| {
            let mut tasks = Tasks::new();
            copy(&mut tasks, promised);
            if let Seat::Of(victim) = seat {
                unseat(&mut tasks, &self.sessions[*victim]);
            }
            // A promised session that takes a slot keeps it.
            for task in tasks.iter_mut().filter(|task| task.id == session.ticket.id) {
                *task = task.with_slot();
            }
            self.after(later, &mut tasks, &tokens).is_ok()
                && self.forecast(later, &tasks, self.margin()).is_ok()
        };
        if session.slot.is_some() {
            return Some(Seat::Its).filter(keeps);
        }
        if self.model(session.ticket.model).ledger.free() > 0 {
            return Some(Seat::Free).filter(keeps);
        }
        match self.evictable(session) {
            Some(victim) => Some(Seat::Of(victim)).filter(keeps),
            None => self.holders_below(session).into_iter().map(Seat::Of).find(keeps),
        }
    }

    /// What a step of these sessions is thought to take.
    pub(super) fn step_time(&self, rows: &Rows) -> Duration {
        let model = self.model(self.sessions[rows[0]].ticket.model);
        let fed = rows.iter().map(|&i| (self.sessions[i].fed, self.count(i, rows.len())));
        model.costs.step(load(fed))
    }

    /// The first step of the plan that keeps all promises; if there is none, and nothing to keep,
    /// nothing.
    fn pick_by_promise(&mut self, now: Time, promised: &Tasks) -> Option<Rows> {
        // The plan that keeps most of the reserve.
        let margin = self.margin() - EXACT;
        let reserves = [margin, margin / 2, margin / 4, 0];
        let mut plans = reserves.iter().map(|kept| self.forecast(now, promised, EXACT + kept));
        let first = plans.find_map(Result::ok)?;
        if first.is_empty() {
            return None;
        }
        let rows = self.rows(&first);
        let leader = &self.sessions[rows[0]];
        let seat = match self.model(leader.ticket.model).ledger.free() {
            _ if leader.slot.is_some() => Seat::Its,
            0 => Seat::Of(self.evictable(leader).or_else(|| self.lost(leader, promised))?),
            _ => Seat::Free,
        };
        self.seat(rows[0], seat);
        Some(rows)
    }

    /// A session with a slot whose promise cannot be kept any more.
    fn lost(&self, session: &Session, promised: &Tasks) -> Option<usize> {
        let is_lost = |s: &Session| {
            s.slot.is_some()
                && s.ticket.model == session.ticket.model
                && promised.iter().all(|t| t.id != s.ticket.id)
        };
        self.sessions.iter().position(is_lost)
    }

    fn rows(&self, ids: &First) -> Rows {
        let index = |id: &RequestId| self.sessions.iter().position(|s| s.ticket.id == *id);
        let mut rows: Rows = ids.iter().filter_map(index).collect();
        // A session that must run alone does, at the price of the plan.
        if rows.iter().any(|&i| self.sessions[i].alone) {
            rows.truncate(1);
        }
        rows
    }

    /// The best-effort session that would lose its slot to `session`: promised and urgent work
    /// outweighs it.
    fn evictable(&self, session: &Session) -> Option<usize> {
        let is_urgent = session.ticket.priority == Priority::Urgent;
        (0..self.sessions.len())
            .filter(|&i| {
                let other = &self.sessions[i];
                other.slot.is_some()
                    && other.ticket.model == session.ticket.model
                    && !other.is_promised()
                    && (session.is_promised()
                        || is_urgent && other.ticket.priority != Priority::Urgent)
            })
            .max_by_key(|&i| (self.sessions[i].ticket.priority, self.sessions[i].due()))
    }

    /// The sessions of lower priority that an urgent one without a slot may take it from, those that
    /// are cheap to compute anew first.
    pub(super) fn holders_below(&self, urgent: &Session) -> heapless::Vec<usize, MAX_SESSIONS> {
        let ticket = &urgent.ticket;
        let asks = ticket.priority == Priority::Urgent && urgent.is_promised();
        let mut below: heapless::Vec<usize, MAX_SESSIONS> = (0..self.sessions.len())
            .filter(|&i| {
                let other = &self.sessions[i];
                asks && other.slot.is_some()
                    && other.ticket.model == ticket.model
                    && other.ticket.priority > ticket.priority
            })
            .collect();
        below.sort_unstable_by_key(|&i| self.sessions[i].known);
        below
    }

    pub(super) fn seat(&mut self, index: usize, seat: Seat) {
        let model = usize::from(self.sessions[index].ticket.model.0);
        match seat {
            Seat::Its => {}
            Seat::Free => self.sessions[index].slot = self.models[model].ledger.reserve(),
            Seat::Of(victim) => self.pass_slot(victim, index),
        }
    }

    /// Takes the slot of one session, which is computed anew later, and gives it to another.
    fn pass_slot(&mut self, from: usize, to: usize) {
        if let Some(slot) = self.sessions[from].unseat() {
            let ledger = &mut self.models[usize::from(slot.model.0)].ledger;
            ledger.release(slot);
            self.sessions[to].slot = ledger.reserve();
        }
    }

    /// The leader and those of its priority who may share its step, by whose turn it is.
    fn companions(&self, leader: usize) -> Rows {
        let first = &self.sessions[leader];
        let most = usize::from(self.model(first.ticket.model).caps.max_rows);
        let mut rows = Rows::new();
        rows.push(leader).expect("room for one");
        if first.alone || first.pending() != 1 {
            return rows;
        }
        let shares = |i: &usize| {
            let other = &self.sessions[*i];
            *i != leader
                && other.slot.is_some()
                && other.pending() == 1
                && !other.alone
                && other.ticket.model == first.ticket.model
                && other.ticket.priority == first.ticket.priority
        };
        let mut others = heapless::Vec::<usize, MAX_SESSIONS>::new();
        others.extend((0..self.sessions.len()).filter(shares));
        others.sort_unstable_by_key(|&i| (self.sessions[i].last_step, self.sessions[i].due()));
        rows.extend(others.iter().copied().take(most.saturating_sub(1)));
        rows
    }

    /// How many tokens the session feeds in a step of `rows`; of several that a grammar has
    /// appended, a shared step takes them one by one.
    fn count(&self, index: usize, rows: usize) -> u32 {
        let session = &self.sessions[index];
        match rows {
            1 => {
                let most = self.chunk(self.model(session.ticket.model), session.fed);
                next_chunk(session.pending(), most)
            }
            _ => 1,
        }
    }

    fn row(&self, index: usize, rows: usize) -> PlannedRow {
        let session = &self.sessions[index];
        let count = self.count(index, rows);
        PlannedRow {
            id: session.ticket.id,
            slot: session.slot.expect("rows are made of seated sessions"),
            pos: session.fed,
            count,
            logits: count == session.pending(),
        }
    }
}
