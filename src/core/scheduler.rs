//! Who runs the next step: admission, priorities, deadlines, slots.
//!
//! The caller says what happened ([`Scheduler::handle`]) and asks what to do
//! ([`Scheduler::poll`]); between two steps of the engine nothing else changes state.
//!
//! Policy: while every promise would still be kept if anything at all ran next, the highest priority
//! goes first and its sessions take turns step by step. As soon as that is not so, sessions with a
//! promise run by earliest deadline, which is optimal for one preemptible resource (Liu and Layland
//! 1973, Dertouzos 1974); rank by priority would break promises when a slot becomes free early. A
//! slot is kept until its session ends, but a best-effort session may lose it and is computed anew.

use super::cost::Costs;
use super::error::{ErrorCode, RejectReason};
use super::ledger::Ledger;
use super::plan::{Caps, MAX_ROWS, ModelId, Slot};
use super::request::{RequestId, StopReason, Time};
use super::session::{Phase, Session, Ticket};
use std::collections::VecDeque;
use std::time::Duration;

/// Predictions are stretched by this before they are promised.
const MARGIN_PERCENT: u32 = 110;

/// The most sessions, running and waiting, over all models.
pub const MAX_SESSIONS: usize = 256;
/// The most models.
pub const MAX_MODELS: usize = 4;

/// A model as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// What its engine can do.
    pub caps: Caps,
    /// What its steps cost.
    pub costs: Costs,
    /// KV bytes of one slot.
    pub slot_bytes: u64,
}

/// Limits of the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions that may wait for a slot.
    pub queue: usize,
    /// No step is planned to take longer.
    pub max_step: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A new request; answered by [`Output::Rejected`], or in the end by [`Output::Finished`].
    Submit(Ticket),
    /// A step of the engine ended.
    Stepped {
        /// How long the engine took.
        took: Duration,
        /// Every row of the step, and what became of it.
        rows: &'a [(RequestId, RowOutcome)],
    },
    /// A request must end now.
    Cancel(RequestId, StopReason),
    /// The engine has let go of the slot of a finished request.
    SlotFreed(Slot),
    /// Take nothing new, and end what still runs at this time.
    Drain {
        /// The end.
        until: Time,
    },
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// The tokens are in the cache; no logits were asked for.
    Fed,
    /// The answer grew by this many tokens: one sampled, the others forced.
    Grew(u32),
    /// The request ended, after growing by this many tokens.
    Ended(StopReason, u32),
}

/// A row of a planned step: feed `count` tokens of request `id` from position `pos` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRow {
    /// The request.
    pub id: RequestId,
    /// Its slot.
    pub slot: Slot,
    /// Tokens in the slot so far.
    pub pos: u32,
    /// Tokens to feed.
    pub count: u32,
    /// Whether logits are needed after the last of them.
    pub logits: bool,
}

/// The rows of a step; all of one model.
pub type Step = heapless::Vec<PlannedRow, MAX_ROWS>;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a step comes with most polls; a box would allocate")]
pub enum Output {
    /// Tell the client that its request was refused.
    Rejected(RequestId, RejectReason),
    /// Tell the client how its request ended; then free the slot.
    Finished {
        /// The request.
        id: RequestId,
        /// Why it ended.
        reason: StopReason,
        /// The slot to let go of.
        slot: Option<Slot>,
    },
    /// Run this step.
    Step(Step),
    /// Nothing to do before the given time, or before the next input.
    Idle(Option<Time>),
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    models: Vec<Model>,
    limits: Limits,
    sessions: Vec<Session>,
    outputs: VecDeque<Output>,
    drain: Option<Time>,
    steps: u64,
}

#[derive(Debug)]
struct Model {
    caps: Caps,
    costs: Costs,
    ledger: Ledger,
}

impl Scheduler {
    /// A scheduler for these models; [`ModelId`] is the index.
    pub fn new(models: Vec<ModelPlan>, limits: Limits) -> Self {
        let models: Vec<Model> = (0u8..)
            .zip(models)
            .map(|(id, plan)| Model {
                ledger: Ledger::new(ModelId(id), plan.caps.slots, plan.slot_bytes),
                caps: plan.caps,
                costs: plan.costs,
            })
            .collect();
        let slots: usize = models.iter().map(|m| usize::from(m.caps.slots)).sum();
        let room = slots + limits.queue;
        Self {
            models,
            limits,
            sessions: Vec::with_capacity(room),
            outputs: VecDeque::with_capacity(2 * room),
            drain: None,
            steps: 0,
        }
    }

    /// The sessions under way and queued, in no order.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// How many sessions hold a slot, and how many wait for one.
    pub fn load(&self) -> (usize, usize) {
        let running = self.sessions.iter().filter(|s| s.phase() != Phase::Queued).count();
        (running, self.sessions.len() - running)
    }

    /// Bytes of the KV slots in use.
    pub fn kv_held_bytes(&self) -> u64 {
        self.models.iter().map(|m| m.ledger.held_bytes()).sum()
    }

    /// What steps of `model` cost by now.
    pub fn costs(&self, model: ModelId) -> Costs {
        self.models[usize::from(model.0)].costs
    }

    /// Whether everything asked for has been answered.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.outputs.is_empty()
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Submit(ticket) => self.submit(now, ticket),
            Input::Stepped { took, rows } => self.stepped(took, rows),
            Input::Cancel(id, reason) => self.finish(id, reason),
            Input::SlotFreed(slot) => self.models[usize::from(slot.model.0)].ledger.release(slot),
            Input::Drain { until } => self.drain = Some(until),
        }
    }

    /// What to do at `now`. Call it until it says [`Output::Idle`].
    pub fn poll(&mut self, now: Time) -> Output {
        self.expire(now);
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        match self.plan_step(now) {
            Some(step) => Output::Step(step),
            None => Output::Idle(self.next_expiry()),
        }
    }

    fn submit(&mut self, now: Time, mut ticket: Ticket) {
        match self.admit(now, &mut ticket) {
            Ok(()) => self.sessions.push(Session::new(ticket)),
            Err(reason) => self.outputs.push_back(Output::Rejected(ticket.id, reason)),
        }
    }

    fn admit(&self, now: Time, ticket: &mut Ticket) -> Result<(), RejectReason> {
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
        if waiting >= self.limits.queue + free || full {
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
    fn keeps_promises(
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
        model.costs.price(session.pending(), self.chunk(model), to_decode) * MARGIN_PERCENT / 100
    }

    fn until_first_token(&self, session: &Session) -> Duration {
        let model = self.model(session.ticket.model);
        model.costs.price(session.pending(), self.chunk(model), 0) * MARGIN_PERCENT / 100
    }

    fn chunk(&self, model: &Model) -> u32 {
        model.costs.chunk_within(self.limits.max_step, model.caps.max_chunk)
    }

    fn model(&self, id: ModelId) -> &Model {
        &self.models[usize::from(id.0)]
    }

    fn stepped(&mut self, took: Duration, rows: &[(RequestId, RowOutcome)]) {
        for &(id, outcome) in rows {
            let Some(session) = self.sessions.iter_mut().find(|s| s.ticket.id == id) else {
                continue;
            };
            if rows.len() == 1 {
                let model = &mut self.models[usize::from(session.ticket.model.0)];
                model.costs.observe(session.running, took);
            }
            session.fed += std::mem::take(&mut session.running);
            match outcome {
                RowOutcome::Fed => {}
                RowOutcome::Grew(tokens) => {
                    session.known += tokens;
                    if session.to_come() == 0 {
                        self.finish(id, StopReason::Length);
                    }
                }
                RowOutcome::Ended(reason, tokens) => {
                    session.known += tokens;
                    self.finish(id, reason);
                }
            }
        }
    }

    fn finish(&mut self, id: RequestId, reason: StopReason) {
        if let Some(at) = self.sessions.iter().position(|s| s.ticket.id == id) {
            let session = self.sessions.swap_remove(at);
            self.outputs.push_back(Output::Finished { id, reason, slot: session.slot });
        }
    }

    fn expire(&mut self, now: Time) {
        let cut = if self.drain.is_some_and(|until| until <= now) {
            StopReason::ShuttingDown
        } else {
            StopReason::Deadline
        };
        while let Some(id) = self
            .sessions
            .iter()
            .find(|s| cut == StopReason::ShuttingDown || s.ticket.deadline.answer <= now)
            .map(|s| s.ticket.id)
        {
            self.finish(id, cut);
        }
    }

    fn next_expiry(&self) -> Option<Time> {
        let deadlines = self.sessions.iter().map(|s| s.ticket.deadline.answer);
        deadlines.chain(self.drain.filter(|_| !self.sessions.is_empty())).min()
    }

    fn plan_step(&mut self, now: Time) -> Option<Step> {
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

    /// The leader and those who may share its step, by rising slot index.
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
        let at = |index: i32| {
            (0..self.sessions.len()).find(|&i| {
                self.sessions[i].slot.is_some_and(|s| i32::from(s.index) == index)
                    && shares(&self.sessions[i])
            })
        };
        let home = i32::from(first.slot.expect("the leader was seated").index);
        for direction in [1, -1] {
            let mut index = home + direction;
            while rows.len() < most
                && let Some(other) = at(index)
            {
                rows.push(other).expect("bounded by MAX_ROWS");
                index += direction;
            }
        }
        rows.sort_unstable_by_key(|&i| self.sessions[i].slot.map(|s| s.index));
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
