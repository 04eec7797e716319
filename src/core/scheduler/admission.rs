//! What may be promised: memory first, then time, against everything that was promised before.

use super::forecast::{Promises, Task, Tasks, copy, unseat};
use super::turn::Seat;
use super::{MAX_SESSIONS, Scheduler, URGENT_SEATS};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{Deadline, Priority, Time};
use crate::core::session::{Session, Ticket};
use std::time::Duration;

/// What a refused request is told that it would need is exact to this, or to this part of itself:
/// refusing must not cost what serving does.
const NEEDS_GRAIN: Duration = Duration::from_millis(1);
const NEEDS_PART: u32 = 16;

/// A request that can be served in time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fits {
    /// Where it must sit down at once for that.
    pub seat: Option<Seat>,
    /// Whether it comes behind all who are there.
    pub last: bool,
}

/// No wait is looked into beyond this.
const LONGEST: Duration = Duration::from_secs(1 << 20);

impl Scheduler {
    pub(super) fn admit(&self, now: Time, ticket: &mut Ticket) -> Result<Fits, RejectReason> {
        if self.drain.is_some() {
            return Err(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
        if ticket.deadline.answer <= now {
            let message = "the deadline had passed before the request could be looked at";
            return Err(RejectReason::new(ErrorCode::Expired, message));
        }
        self.check_memory(ticket)?;
        self.check_queue(ticket)?;
        if ticket.deadline.best_effort {
            return Ok(Fits::default());
        }
        self.check_pause(ticket)?;
        self.check_time(now, ticket)
    }

    fn check_memory(&self, ticket: &Ticket) -> Result<(), RejectReason> {
        let context = self.model(ticket.model).caps.context_tokens;
        let answer = ticket.depth.unwrap_or(ticket.max_new);
        let wanted = ticket.prompt_tokens.saturating_add(answer);
        if wanted <= context {
            return Ok(());
        }
        let mut reason = RejectReason::new(
            ErrorCode::MemoryInfeasible,
            format!(
                "the prompt has {} tokens and the answer may have {answer}: together more than the \
                 {context} that fit",
                ticket.prompt_tokens
            ),
        );
        reason.max_tokens_that_fit = Some(context.saturating_sub(ticket.prompt_tokens));
        Err(reason)
    }

    fn check_queue(&self, ticket: &Ticket) -> Result<(), RejectReason> {
        let (_, waiting) = self.load();
        let free = self.model(ticket.model).ledger.free();
        let full = self.sessions.len() + 1 >= MAX_SESSIONS;
        let kept = if ticket.priority == Priority::Urgent { URGENT_SEATS } else { 0 };
        if waiting < self.limits.queue + free + kept && !full {
            return Ok(());
        }
        let message = format!("{waiting} requests wait already, and that is the limit");
        Err(RejectReason::new(ErrorCode::Busy, message))
    }

    /// Nothing is promised to background work while it pauses.
    fn check_pause(&self, ticket: &Ticket) -> Result<(), RejectReason> {
        if ticket.priority != Priority::Background || self.pressure.background_percent > 0 {
            return Ok(());
        }
        let message = "background work pauses, to spare the machine; `best_effort` may wait for it";
        Err(RejectReason::new(ErrorCode::Busy, message))
    }

    fn check_time(&self, now: Time, ticket: &mut Ticket) -> Result<Fits, RejectReason> {
        let mut promises = Promises::new();
        let percent = self.margin() * self.pressure.stretch_percent / 100;
        self.promises(now, percent, &mut promises);
        if let Some(fits) = self.may_promise(&promises, ticket) {
            return Ok(fits);
        }
        if let Some(least) = ticket.least
            && let Some(fits) = self.shorten(&promises, ticket, least)
        {
            return Ok(fits);
        }
        Err(self.infeasible(&promises, ticket))
    }

    /// Lowers the most tokens of an answer to what can be promised, if that is at least `least`.
    fn shorten(&self, promises: &Promises, ticket: &mut Ticket, least: u32) -> Option<Fits> {
        let (mut fits, mut too_many) = (None, ticket.max_new);
        let mut enough = least.min(too_many).saturating_sub(1);
        while too_many - enough > 1 {
            let middle = enough + (too_many - enough) / 2;
            let shorter = Ticket { max_new: middle, ..*ticket };
            match self.may_promise(promises, &shorter) {
                Some(how) => (enough, fits) = (middle, Some(how)),
                None => too_many = middle,
            }
        }
        if fits.is_some() {
            ticket.max_new = enough;
        }
        fits
    }

    /// Whether this request and all that were promised before can be served in time; if need be,
    /// with a slot that an urgent one gets before those who wait: a free one, or another's if none is.
    fn may_promise(&self, promises: &Promises, ticket: &Ticket) -> Option<Fits> {
        let newcomer = Session::new(*ticket);
        let (first, answer) = self.alone(promises, ticket);
        let bounds = ticket.deadline;
        if answer > bounds.answer || bounds.first_token.is_some_and(|bound| first > bound) {
            return None;
        }
        let (tasks, task) = (&promises.tasks, Task::new(&newcomer));
        let mut after = Tasks::new();
        copy(&mut after, tasks);
        after.push(task).ok()?;
        if self.may_join(promises, &after) {
            return Some(Fits { seat: None, last: false });
        }
        after[tasks.len()] = task.behind();
        if self.may_follow(promises, &after) {
            return Some(Fits { seat: None, last: true });
        }
        if ticket.priority != Priority::Urgent {
            return None;
        }
        after[tasks.len()] = task.with_slot();
        if self.model(ticket.model).ledger.free() > 0 {
            let joins = self.may_join(promises, &after);
            return joins.then_some(Fits { seat: Some(Seat::Free), last: false });
        }
        let frees = |&i: &usize| {
            let mut freed = Tasks::new();
            copy(&mut freed, &after);
            unseat(&mut freed, &self.sessions[i]);
            self.may_join(promises, &freed)
        };
        let from = self.holders_below(&newcomer).into_iter().find(frees)?;
        Some(Fits { seat: Some(Seat::Of(from)), last: false })
    }

    /// When the request would have its first token, and its answer, with nobody else there.
    fn alone(&self, promises: &Promises, ticket: &Ticket) -> (Time, Time) {
        let model = self.model(ticket.model);
        let prompt = ticket.prompt_tokens;
        let first = self.prefill_time(model, 0, prompt, promises.percent());
        let steps = ticket.max_new.saturating_sub(1);
        let answer = first + model.costs.decode_run(1, prompt.into(), steps);
        (promises.clock(first), promises.clock(answer))
    }

    /// What is kept in reserve when something is promised, as a percentage of the price.
    pub(super) fn margin(&self) -> u32 {
        let served = self.models.iter().filter(|m| m.is_served);
        100 + served.map(|m| m.costs.margin_percent()).max().unwrap_or(0)
    }

    fn infeasible(&self, promises: &Promises, ticket: &Ticket) -> RejectReason {
        let (now, bounds) = (promises.now(), ticket.deadline);
        let unhurried = Deadline { first_token: None, ..bounds };
        let alone = self.alone(promises, ticket);
        let answer_fits =
            self.may_promise(promises, &Ticket { deadline: unhurried, ..*ticket }).is_some();
        let (what, given, needs) = if answer_fits {
            let first = |bound| Deadline { first_token: Some(bound), ..bounds };
            let given = bounds.first_token.unwrap_or(bounds.answer);
            ("the first token needs", given, self.needs(promises, ticket, alone.0, first))
        } else {
            let answer = |bound| Deadline { answer: bound, ..unhurried };
            ("needs", bounds.answer, self.needs(promises, ticket, alone.1, answer))
        };
        let (needs, given) = (needs.as_millis(), given.since(now).as_millis());
        let message = format!("{what} {needs} ms, {given} ms given");
        let mut reason = RejectReason::new(ErrorCode::DeadlineInfeasible, message);
        reason.needs_ms = Some(u32::try_from(needs).unwrap_or(u32::MAX));
        reason
    }

    /// A bound, counted from now, with which the request would be admitted, and hardly more than the
    /// least. `alone` is when that would be with nobody else there.
    fn needs(
        &self,
        promises: &Promises,
        ticket: &Ticket,
        alone: Time,
        bounded: impl Fn(Time) -> Deadline,
    ) -> Duration {
        let now = promises.now();
        let fits = |after: Duration| {
            let deadline = bounded(now.after(after));
            self.may_promise(promises, &Ticket { deadline, ..*ticket }).is_some()
        };
        let mut short = Duration::ZERO;
        let mut enough = alone.since(now).max(NEEDS_GRAIN);
        while !fits(enough) && enough < LONGEST {
            short = enough;
            enough *= 2;
        }
        while enough - short > NEEDS_GRAIN.max(enough / NEEDS_PART) && !short.is_zero() {
            let middle = short + (enough - short) / 2;
            if fits(middle) {
                enough = middle;
            } else {
                short = middle;
            }
        }
        // Whole milliseconds, and never less than what fits.
        Duration::from_millis(enough.as_millis() as u64 + 1)
    }
}
