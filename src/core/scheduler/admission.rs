//! What may be promised: memory first, then time, against everything that was promised before.

use super::{MAX_MODELS, MAX_SESSIONS, Scheduler, URGENT_SEATS};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{Priority, RequestId, Time};
use crate::core::session::{Session, Ticket};
use std::time::Duration;

/// Predictions are stretched by this before they are promised.
const MARGIN_PERCENT: u32 = 110;

impl Scheduler {
    pub(super) fn admit(&self, now: Time, ticket: &mut Ticket) -> Result<(), RejectReason> {
        if self.drain.is_some() {
            return Err(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
        if ticket.deadline.answer <= now {
            let message = "the deadline had passed before the request could be looked at";
            return Err(RejectReason::new(ErrorCode::Expired, message));
        }
        self.check_memory(ticket)?;
        let (_, waiting) = self.load();
        let free = self.model(ticket.model).ledger.free();
        let full = self.sessions.len() + 1 >= MAX_SESSIONS;
        let kept = if ticket.priority == Priority::Urgent { URGENT_SEATS } else { 0 };
        if waiting >= self.limits.queue + free + kept || full {
            let message = format!("{waiting} requests wait already, and that is the limit");
            return Err(RejectReason::new(ErrorCode::Busy, message));
        }
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

    fn check_time(&self, now: Time, ticket: &mut Ticket) -> Result<(), RejectReason> {
        if ticket.deadline.best_effort || self.keeps_promises(now, Some(ticket), None) {
            return Ok(());
        }
        let asked = ticket.max_new;
        if ticket.flexible {
            let (mut fits, mut too_many) = (0, asked);
            while too_many - fits > 1 {
                ticket.max_new = fits + (too_many - fits) / 2;
                if self.keeps_promises(now, Some(ticket), None) {
                    fits = ticket.max_new;
                } else {
                    too_many = ticket.max_new;
                }
            }
            ticket.max_new = fits.max(1);
            if fits > 0 {
                return Ok(());
            }
        }
        Err(self.infeasible(now, ticket))
    }

    fn infeasible(&self, now: Time, ticket: &Ticket) -> RejectReason {
        let ahead: Duration = self
            .sessions
            .iter()
            .filter(|s| s.due() < Session::new(*ticket).due() && s.is_promised())
            .map(|s| self.remaining(s))
            .sum();
        let needs = ahead + self.remaining(&Session::new(*ticket));
        let given = ticket.deadline.answer.since(now);
        let mut reason = RejectReason::new(
            ErrorCode::DeadlineInfeasible,
            format!("needs {} ms, {} ms given", needs.as_millis(), given.as_millis()),
        );
        reason.needs_ms = Some(u32::try_from(needs.as_millis()).unwrap_or(u32::MAX));
        reason
    }

    /// Whether every session (and `newcomer`) that was promised its deadline would meet it, if from
    /// `now` on they ran by earliest deadline, each to its full length, as slots become free;
    /// `seated` counts as holding a slot.
    pub(super) fn keeps_promises(
        &self,
        now: Time,
        newcomer: Option<&Ticket>,
        seated: Option<RequestId>,
    ) -> bool {
        let newcomer = newcomer.map(|t| Session::new(*t));
        let holds = |s: &Session| s.slot.is_some() || seated == Some(s.ticket.id);
        let mut order: heapless::Vec<&Session, MAX_SESSIONS> = heapless::Vec::new();
        let mut free: heapless::Vec<usize, MAX_MODELS> =
            self.models.iter().map(|m| usize::from(m.caps.slots)).collect();
        for session in self.sessions.iter().chain(newcomer.as_ref()) {
            if session.is_promised() {
                let model = usize::from(session.ticket.model.0);
                free[model] = free[model].saturating_sub(usize::from(holds(session)));
                order.push(session).expect("admission keeps to MAX_SESSIONS");
            }
        }
        order.sort_unstable_by_key(|s| s.due());
        let mut clock = now;
        while !order.is_empty() {
            let starts = |s: &&Session| holds(s) || free[usize::from(s.ticket.model.0)] > 0;
            let at = order.iter().position(starts).unwrap_or(0);
            let session = order.remove(at);
            let first = clock.after(self.until_first_token(session));
            clock = clock.after(self.remaining(session));
            let bound = session.ticket.deadline.first_token.filter(|_| session.generated() == 0);
            if clock > session.ticket.deadline.answer || bound.is_some_and(|b| first > b) {
                return false;
            }
            free[usize::from(session.ticket.model.0)] += usize::from(holds(session));
        }
        true
    }

    fn remaining(&self, session: &Session) -> Duration {
        let model = self.model(session.ticket.model);
        let to_decode = session.to_come().saturating_sub(1);
        model.costs.price(session.pending(), self.chunk(model), to_decode) * self.margin() / 100
    }

    /// Per cent of the predicted time that is promised.
    const fn margin(&self) -> u32 {
        MARGIN_PERCENT * self.pressure.stretch_percent / 100
    }

    fn until_first_token(&self, session: &Session) -> Duration {
        let model = self.model(session.ticket.model);
        model.costs.price(session.pending(), self.chunk(model), 0) * self.margin() / 100
    }
}
