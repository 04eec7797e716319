//! What may be promised: memory first, then time, against everything that was promised before.

use super::forecast::{Task, Tasks, copy, unseat};
use super::turn::Seat;
use super::{MAX_SESSIONS, Scheduler, URGENT_SEATS};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{Deadline, Priority, Time};
use crate::core::session::{Session, Ticket};
use std::time::Duration;

/// What a refused request is told that it would need is exact to this.
const NEEDS_GRAIN: Duration = Duration::from_millis(1);

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
        let wanted = ticket.prompt_tokens.saturating_add(ticket.max_new);
        if wanted <= context {
            return Ok(());
        }
        let mut reason = RejectReason::new(
            ErrorCode::MemoryInfeasible,
            format!(
                "the prompt has {} tokens and the answer may have {}: together more than the \
                 {context} that fit",
                ticket.prompt_tokens, ticket.max_new
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
        if let Some(fits) = self.may_promise(now, ticket) {
            return Ok(fits);
        }
        let asked = ticket.max_new;
        if ticket.flexible {
            let (mut fits, mut too_many) = (0, asked);
            while too_many - fits > 1 {
                ticket.max_new = fits + (too_many - fits) / 2;
                if self.may_promise(now, ticket).is_some() {
                    fits = ticket.max_new;
                } else {
                    too_many = ticket.max_new;
                }
            }
            ticket.max_new = fits.max(1);
            if fits > 0
                && let Some(fits) = self.may_promise(now, ticket)
            {
                return Ok(fits);
            }
        }
        Err(self.infeasible(now, ticket))
    }

    /// Whether this request and all that were promised before can be served in time; if need be,
    /// with a slot that an urgent one gets before those who wait: a free one, or another's if none is.
    fn may_promise(&self, now: Time, ticket: &Ticket) -> Option<Fits> {
        let newcomer = Session::new(*ticket);
        let tasks = self.promised(now);
        let percent = self.margin() * self.pressure.stretch_percent / 100;
        let task = Task::new(&newcomer);
        let mut after = Tasks::new();
        copy(&mut after, &tasks);
        after.push(task).ok()?;
        if self.may_join(now, &tasks, &after, percent) {
            return Some(Fits { seat: None, last: false });
        }
        after[tasks.len()] = task.behind();
        if self.may_join(now, &tasks, &after, percent) {
            return Some(Fits { seat: None, last: true });
        }
        after[tasks.len()] = task.with_slot();
        let is_urgent = ticket.priority == Priority::Urgent;
        if is_urgent && self.model(ticket.model).ledger.free() > 0 {
            let joins = self.may_join(now, &tasks, &after, percent);
            return joins.then_some(Fits { seat: Some(Seat::Free), last: false });
        }
        let frees = |&i: &usize| {
            let mut freed = Tasks::new();
            copy(&mut freed, &after);
            unseat(&mut freed, &self.sessions[i]);
            self.may_join(now, &tasks, &freed, percent)
        };
        let from = self.holders_below(&newcomer).into_iter().find(frees)?;
        Some(Fits { seat: Some(Seat::Of(from)), last: false })
    }

    /// What is kept in reserve when something is promised, as a percentage of the price.
    pub(super) fn margin(&self) -> u32 {
        100 + self.models.iter().map(|m| m.costs.margin_percent()).max().unwrap_or(0)
    }

    fn infeasible(&self, now: Time, ticket: &Ticket) -> RejectReason {
        let bounds = ticket.deadline;
        let unhurried = Deadline { first_token: None, ..bounds };
        let answer_fits =
            self.may_promise(now, &Ticket { deadline: unhurried, ..*ticket }).is_some();
        let (what, given, needs) = if answer_fits {
            let first = |bound| Deadline { first_token: Some(bound), ..bounds };
            let given = bounds.first_token.unwrap_or(bounds.answer);
            ("the first token needs", given, self.needs(now, ticket, first))
        } else {
            let answer = |bound| Deadline { answer: bound, ..unhurried };
            ("needs", bounds.answer, self.needs(now, ticket, answer))
        };
        let (needs, given) = (needs.as_millis(), given.since(now).as_millis());
        let message = format!("{what} {needs} ms, {given} ms given");
        let mut reason = RejectReason::new(ErrorCode::DeadlineInfeasible, message);
        reason.needs_ms = Some(u32::try_from(needs).unwrap_or(u32::MAX));
        reason
    }

    /// The least bound, counted from `now`, with which the request would be admitted.
    fn needs(&self, now: Time, ticket: &Ticket, bounded: impl Fn(Time) -> Deadline) -> Duration {
        let fits = |after: Duration| {
            let deadline = bounded(now.after(after));
            self.may_promise(now, &Ticket { deadline, ..*ticket }).is_some()
        };
        let mut enough = NEEDS_GRAIN;
        while !fits(enough) && enough < LONGEST {
            enough *= 2;
        }
        let mut short = enough / 2;
        while enough - short > NEEDS_GRAIN {
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
