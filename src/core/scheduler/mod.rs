//! Who runs the next step: admission, priorities, deadlines, slots.
//!
//! The caller says what happened ([`Scheduler::handle`]) and asks what to do
//! ([`Scheduler::poll`]); between two steps of the engine nothing else changes state.
//!
//! Policy: whoever comes first in the order of service (`share`) runs, as long as every promise
//! would still be kept after its step. As soon as that is not so, the plan that keeps them decides
//! (`forecast`). A slot is kept until its session ends; a best-effort session may lose it to a
//! promise, and any of lower priority to an urgent one if no promise is broken: it is computed anew.

mod admission;
mod between;
mod exchange;
mod forecast;
mod share;
mod stint;
mod turn;

use super::cost::{Costs, Load};
use super::error::RejectReason;
use super::ledger::Ledger;
use super::plan::{Caps, MAX_ROWS, ModelId, Shapes, Slot};
use super::pressure::Pressure;
use super::request::{RequestId, StopReason, Time};
use super::session::{Phase, Session, Ticket};
use std::collections::VecDeque;
use std::time::Duration;

/// The most sessions, running and waiting, over all models.
pub const MAX_SESSIONS: usize = 256;

/// Places in the queue, beyond its limit, that only urgent requests may take: work that piled up
/// must not keep them from being looked at.
pub const URGENT_SEATS: usize = 2;
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
    /// What an answer may take from here to whoever waits for it: it is promised that much earlier.
    pub delivery: Duration,
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
    /// Work as hard as this from now on.
    Pressure(Pressure),
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
    /// So many of its tokens were taken back, and then it grew by one.
    Turned(u32),
    /// The request ended, after growing by this many tokens.
    Ended(StopReason, u32),
    /// Nothing came of it, and it may have been another row's fault: run it again, alone.
    Again,
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
#[derive(Debug, Clone)]
pub struct Scheduler {
    models: Vec<Model>,
    limits: Limits,
    sessions: Vec<Session>,
    outputs: VecDeque<Output>,
    drain: Option<Time>,
    pressure: Pressure,
    share: share::Share,
    stint: Option<stint::Stint>,
    between: between::Between,
    steps: u64,
}

#[derive(Debug, Clone)]
struct Model {
    caps: Caps,
    costs: Costs,
    ledger: Ledger,
    /// Whether its engine is there; else the place is free.
    is_served: bool,
}

impl Model {
    fn new(id: ModelId, plan: ModelPlan) -> Self {
        let ledger = Ledger::new(id, plan.caps.slots, plan.slot_bytes);
        Self { ledger, caps: plan.caps, costs: plan.costs, is_served: true }
    }
}

impl Scheduler {
    /// A scheduler for these models; [`ModelId`] is the index.
    pub fn new(models: Vec<ModelPlan>, limits: Limits) -> Self {
        let models: Vec<Model> =
            (0u8..).zip(models).map(|(id, plan)| Model::new(ModelId(id), plan)).collect();
        let slots: usize = models.iter().map(|m| usize::from(m.caps.slots)).sum();
        let room = slots + limits.queue + URGENT_SEATS;
        Self {
            models,
            limits,
            sessions: Vec::with_capacity(room),
            outputs: VecDeque::with_capacity(2 * room),
            drain: None,
            pressure: Pressure::default(),
            share: share::Share::default(),
            stint: None,
            between: between::Between::default(),
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
        if !matches!(input, Input::Stepped { .. }) {
            self.stint = None;
        }
        match input {
            Input::Submit(ticket) => self.submit(now, ticket),
            Input::Stepped { took, rows } => self.stepped(now, took, rows),
            Input::Cancel(id, reason) => self.finish(id, reason),
            Input::SlotFreed(slot) => self.models[usize::from(slot.model.0)].ledger.release(slot),
            Input::Pressure(pressure) => self.pressure = pressure,
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
            None => {
                self.between.idle();
                Output::Idle(self.next_expiry().into_iter().chain(self.rest_ends(now)).min())
            }
        }
    }

    /// What the step will take.
    pub fn predict(&self, step: &Step) -> Duration {
        step.first().map_or(Duration::ZERO, |row| price(step, &self.model(row.slot.model).costs))
    }

    fn submit(&mut self, now: Time, mut ticket: Ticket) {
        match self.admit(now, &mut ticket) {
            Ok(fits) => {
                self.sessions.push(Session { last: fits.last, ..Session::new(ticket) });
                if let Some(seat) = fits.seat {
                    self.seat(self.sessions.len() - 1, seat);
                }
            }
            Err(reason) => self.outputs.push_back(Output::Rejected(ticket.id, reason)),
        }
    }

    /// How long a step with a chunk may take. A chunk of a fixed shape costs the same however few tokens
    /// it has: cutting it would only make more of them.
    fn bound(&self, model: &Model) -> Duration {
        match model.caps.shapes {
            Shapes::Any => self.limits.max_step,
            Shapes::Static(_) => Duration::MAX,
        }
    }

    /// The most tokens of a step from position `pos` on.
    fn chunk(&self, model: &Model, pos: u32) -> u32 {
        model.costs.chunk_within(self.bound(model), pos, model.caps.max_chunk)
    }

    fn model(&self, id: ModelId) -> &Model {
        &self.models[usize::from(id.0)]
    }

    fn stepped(&mut self, now: Time, took: Duration, rows: &[(RequestId, RowOutcome)]) {
        self.learn(now, took, rows);
        self.hold_stint(took, rows.iter().all(|(_, o)| *o == RowOutcome::Grew(1)));
        for &(id, outcome) in rows {
            let Some(session) = self.sessions.iter_mut().find(|s| s.ticket.id == id) else {
                continue;
            };
            let fed = std::mem::take(&mut session.running);
            if outcome == RowOutcome::Again {
                session.alone = true;
                continue;
            }
            session.fed += fed;
            match outcome {
                RowOutcome::Fed | RowOutcome::Again => {}
                RowOutcome::Turned(back) => {
                    session.go_back(back);
                    session.known += 1;
                }
                RowOutcome::Grew(tokens) | RowOutcome::Ended(_, tokens) => session.known += tokens,
            }
            let is_long = session.to_come() == 0;
            match outcome {
                RowOutcome::Ended(reason, _) => self.finish(id, reason),
                RowOutcome::Grew(_) | RowOutcome::Turned(_) if is_long => {
                    self.finish(id, StopReason::Length);
                }
                _ => {}
            }
        }
    }

    /// Takes note of what a step cost, and of whom it was for.
    fn learn(&mut self, now: Time, took: Duration, rows: &[(RequestId, RowOutcome)]) {
        let session = |id: &RequestId| self.sessions.iter().find(|s| s.ticket.id == *id);
        let fed = rows.iter().filter_map(|(id, _)| session(id)).map(|s| (s.fed, s.running));
        let load = load(fed);
        let Some(first) = rows.first().and_then(|(id, _)| session(id)).map(|s| s.ticket) else {
            return;
        };
        let costs = &mut self.models[usize::from(first.model.0)].costs;
        self.between.stepped(now, took, costs.step(load));
        if !rows.iter().any(|(_, outcome)| *outcome == RowOutcome::Again) {
            costs.observe(load, took);
        }
        self.book(now, first.priority, took);
    }

    fn finish(&mut self, id: RequestId, reason: StopReason) {
        if let Some(at) = self.sessions.iter().position(|s| s.ticket.id == id) {
            let session = self.sessions.swap_remove(at);
            self.stint = None;
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
}

/// What the step takes by these costs.
pub fn price(step: &Step, costs: &Costs) -> Duration {
    costs.step(load(step.iter().map(|row| (row.pos, row.count))))
}

/// What a step of these rows, each with its position and its tokens, is to the engine.
fn load(rows: impl Iterator<Item = (u32, u32)>) -> Load {
    let (mut count, mut positions, mut chunk) = (0, 0, None);
    for (pos, tokens) in rows {
        count += 1;
        positions += u64::from(pos);
        chunk = chunk.or((tokens > 1).then_some(Load::Chunk { pos, tokens }));
    }
    chunk.unwrap_or(Load::Decode { rows: count, positions })
}
