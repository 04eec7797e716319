//! A machine in virtual time: a scheduling policy, an engine whose steps have a price, and what
//! became of every request.

#![allow(dead_code, reason = "not every test or bench uses all of it")]

use super::random::Random;
use slmd::core::cost::Load;
use slmd::core::error::{ErrorCode, RejectReason};
use slmd::core::plan::{Caps, ModelId, Rollback, Shapes, StopGrain};
use slmd::core::request::{Deadline, Priority, RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, ModelPlan, Output, PlannedRow, RowOutcome, Scheduler, Step};
use slmd::core::session::Ticket;
use std::collections::BTreeMap;
use std::time::Duration;

/// Positions of a slot.
pub const CONTEXT: u32 = 512;
/// The most tokens that a grammar forces at once, as in `runtime::job`.
const FORCED_AT_ONCE: u64 = 64;

/// Who decides; [`Scheduler`] is the one that this is all about.
pub trait Policy {
    /// As [`Scheduler::handle`].
    fn handle(&mut self, now: Time, input: Input<'_>);
    /// As [`Scheduler::poll`].
    fn poll(&mut self, now: Time) -> Output;
    /// As [`Scheduler::kv_held_bytes`].
    fn kv_held_bytes(&self) -> u64;
}

impl Policy for Scheduler {
    fn handle(&mut self, now: Time, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn poll(&mut self, now: Time) -> Output {
        Self::poll(self, now)
    }

    fn kv_held_bytes(&self) -> u64 {
        Self::kv_held_bytes(self)
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Refused at the door.
    Rejected(RejectReason),
    /// It ended so, and then.
    Ended(StopReason, Time),
}

/// One request as the world sees it.
#[derive(Debug)]
pub struct Record {
    /// As it was submitted.
    pub ticket: Ticket,
    /// How many tokens the model says before its end-of-sequence token.
    pub natural_len: u32,
    /// Tokens of the answer so far.
    pub grown: u32,
    /// When the first of them came.
    pub first_token: Option<Time>,
    /// What became of it.
    pub fate: Option<Fate>,
    /// When that was known.
    pub ended: Option<Time>,
    /// The engine's time for steps that it was part of.
    pub worked: Duration,
    /// The shape of its answer, if it has one.
    shape: Option<AnswerShape>,
    /// Tokens of the answer that were taken back.
    undone: u32,
    /// Tokens in its slot, as the engine has it.
    cached: u32,
}

impl Record {
    /// Whether the promise was kept: the first token by its bound, and an answer that was not cut by
    /// the deadline.
    pub fn is_met(&self) -> bool {
        let deadline = self.ticket.deadline;
        let ended = match self.fate {
            Some(Fate::Ended(StopReason::Stop | StopReason::Length, at)) => at <= deadline.answer,
            _ => false,
        };
        let in_time = |bound| self.first_token.is_some_and(|at| at <= bound);
        ended && deadline.first_token.is_none_or(in_time)
    }

    /// Whether it was let in.
    pub fn is_admitted(&self) -> bool {
        !matches!(self.fate, Some(Fate::Rejected(_)))
    }

    /// Takes note of logits: the token that is drawn, and those that a grammar forces after it.
    fn grow(&mut self) -> RowOutcome {
        let left = self.natural_len - self.grown.min(self.natural_len);
        if left == 0 {
            return RowOutcome::Ended(StopReason::Stop, 0);
        }
        let there = u64::from(self.grown - self.undone);
        if let Some(AnswerShape::Choice(random)) = &mut self.shape {
            let back = random.below(there + 1) as u32;
            self.undone += back;
            self.cached -= back;
            self.grown += 1;
            return RowOutcome::Turned(back);
        }
        let forced = match &mut self.shape {
            Some(AnswerShape::Grammar(random)) => forced(random),
            _ => 0,
        };
        let tokens = (1 + forced).min(left).min(self.ticket.max_new - self.grown);
        self.grown += tokens;
        match self.shape {
            Some(_) if tokens == left => RowOutcome::Ended(StopReason::Stop, tokens),
            _ => RowOutcome::Grew(tokens),
        }
    }
}

/// What the shape of an answer does to its tokens.
#[derive(Debug, Clone)]
pub enum AnswerShape {
    /// A grammar forces some.
    Grammar(Random),
    /// Labels are tried one after the other, each from where it parts from the one before.
    Choice(Random),
}

/// How many tokens a grammar forces: mostly none, or a few of punctuation, at times a long name.
fn forced(random: &mut Random) -> u32 {
    let most = [1, 1, 4, FORCED_AT_ONCE + 1][random.below(4) as usize];
    random.below(most) as u32
}

/// What a step really takes, given what it should, when it starts and its number.
pub type Weather = Box<dyn FnMut(Duration, Time, u64) -> Duration>;

/// Whose tokens are in a slot, and since which change of hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    id: RequestId,
    generation: u32,
}

/// The machine.
pub struct World<P> {
    /// Now.
    pub now: Time,
    /// Who decides.
    pub policy: P,
    /// Every request.
    pub records: BTreeMap<RequestId, Record>,
    /// Who ran, step by step.
    pub order: Vec<RequestId>,
    /// How long the engine worked.
    pub busy: Duration,
    /// How much of that was for steps with a promised request in them.
    pub busy_for_promises: Duration,
    /// The longest step so far.
    pub longest_step: Duration,
    /// Requests whose every step fails unless they run alone, and then too.
    pub poisoned: Option<RequestId>,
    /// Whether the engine may rest while somebody waits, as heat makes it.
    pub may_rest: bool,
    /// Requests without an end.
    live: usize,
    models: Vec<ModelPlan>,
    weather: Weather,
    holders: BTreeMap<(ModelId, u16), Holder>,
    steps: u64,
}

/// What the engine of these worlds can do.
pub fn caps(slots: u16, rows: u8) -> Caps {
    Caps {
        max_rows: rows,
        multi_token_rows: 1,
        mixed: false,
        shapes: Shapes::Any,
        rollback: Rollback::AnyLen,
        all_logits: false,
        stop: StopGrain::Step,
        context_tokens: CONTEXT,
        max_chunk: 64,
        slots,
        vocab_size: 100,
    }
}

/// A request without a first-token bound, of normal priority.
pub fn ticket(id: u64, now: Time, prompt: u32, max_new: u32, deadline_ms: u64) -> Ticket {
    Ticket {
        id: RequestId(id),
        model: ModelId(0),
        prompt_tokens: prompt,
        max_new,
        least: None,
        depth: None,
        priority: Priority::Normal,
        deadline: Deadline {
            answer: now.after(Duration::from_millis(deadline_ms)),
            first_token: None,
            best_effort: false,
        },
        arrived: now,
    }
}

impl<P: Policy> World<P> {
    /// A machine with these models, whose steps cost what their plans say.
    pub fn new(policy: P, models: Vec<ModelPlan>) -> Self {
        Self {
            now: Time(0),
            policy,
            records: BTreeMap::new(),
            order: Vec::new(),
            busy: Duration::ZERO,
            busy_for_promises: Duration::ZERO,
            longest_step: Duration::ZERO,
            poisoned: None,
            may_rest: false,
            live: 0,
            models,
            weather: Box::new(|took, _, _| took),
            holders: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Steps take what `weather` makes of their price.
    #[must_use]
    pub fn with_weather(mut self, weather: Weather) -> Self {
        self.weather = weather;
        self
    }

    /// From now on steps take what `weather` makes of their price.
    pub fn weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// What a lone request takes on the idle machine.
    pub fn alone(&self, model: ModelId, prompt: u32, max_new: u32) -> Duration {
        let plan = self.model(model);
        let most = plan.caps.max_chunk;
        let prefill = plan.costs.prefill(0, prompt, Duration::from_secs(1), most);
        prefill + plan.costs.decode_run(1, prompt.into(), max_new - 1)
    }

    /// Hands a request over.
    pub fn submit(&mut self, ticket: Ticket, natural_len: u32) {
        self.submit_shaped(ticket, natural_len, None);
    }

    /// Hands a request over whose answer has a shape, if there is one.
    pub fn submit_shaped(&mut self, ticket: Ticket, natural_len: u32, shape: Option<AnswerShape>) {
        let record = Record {
            ticket,
            natural_len,
            grown: 0,
            first_token: None,
            fate: None,
            ended: None,
            worked: Duration::ZERO,
            shape,
            undone: 0,
            cached: 0,
        };
        let before = self.records.insert(ticket.id, record);
        assert!(before.is_none(), "two requests of one id");
        self.live += 1;
        self.policy.handle(self.now, Input::Submit(ticket));
    }

    /// Cancels a request.
    pub fn cancel(&mut self, id: RequestId) {
        self.policy.handle(self.now, Input::Cancel(id, StopReason::Cancelled));
    }

    /// Runs until there is nothing to do before `until`.
    pub fn run_until(&mut self, until: Time) {
        while self.now < until {
            match self.policy.poll(self.now) {
                Output::Rejected(id, reason) => self.end(id, Fate::Rejected(reason)),
                Output::Finished { id, reason, slot } => {
                    self.end(id, Fate::Ended(reason, self.now));
                    if let Some(slot) = slot {
                        self.holders.remove(&(slot.model, slot.index));
                        self.policy.handle(self.now, Input::SlotFreed(slot));
                    }
                }
                Output::Step(step) => self.step(&step),
                Output::Idle(next) => {
                    let next = next.map_or(until, |t| t.min(until));
                    assert!(next > self.now, "nothing to do, and no time passes");
                    assert!(self.live == 0 || self.may_rest, "it idles, and {} wait", self.live);
                    self.now = next;
                }
            }
        }
    }

    fn step(&mut self, step: &Step) {
        self.check(step);
        let price = self.model(step[0].slot.model).costs.step(load(step));
        let took = (self.weather)(price, self.now, self.steps);
        self.steps += 1;
        self.now = self.now.after(took);
        self.busy += took;
        if step.iter().any(|row| !self.records[&row.id].ticket.deadline.best_effort) {
            self.busy_for_promises += took;
        }
        self.longest_step = self.longest_step.max(took);
        let fails = step.iter().any(|row| Some(row.id) == self.poisoned);
        let rows: Vec<_> = step
            .iter()
            .map(|row| {
                self.order.push(row.id);
                self.worked(row.id, took);
                let outcome = match (fails, step.len()) {
                    (true, 1) => RowOutcome::Ended(StopReason::Failed, 0),
                    (true, _) => RowOutcome::Again,
                    (false, _) => self.fed(row.id, row.pos + row.count, row.logits),
                };
                (row.id, outcome)
            })
            .collect();
        self.policy.handle(self.now, Input::Stepped { took, rows: &rows });
    }

    fn fed(&mut self, id: RequestId, cached: u32, logits: bool) -> RowOutcome {
        let now = self.now;
        let record = self.records.get_mut(&id).expect("only what was submitted runs");
        record.cached = cached;
        if !logits {
            return RowOutcome::Fed;
        }
        record.first_token.get_or_insert(now);
        record.grow()
    }

    fn worked(&mut self, id: RequestId, took: Duration) {
        self.records.get_mut(&id).expect("only what was submitted runs").worked += took;
    }

    fn model(&self, id: ModelId) -> &ModelPlan {
        &self.models[usize::from(id.0)]
    }

    /// What an engine would refuse, or get wrong without a word.
    fn check(&mut self, step: &Step) {
        assert!(!step.is_empty());
        assert!(step.len() == 1 || step.iter().all(|r| r.count == 1), "mixed step: {step:?}");
        let (model, caps) = (step[0].slot.model, &self.model(step[0].slot.model).caps);
        assert!(step.len() <= usize::from(caps.max_rows), "more rows than there are: {step:?}");
        assert!(step.iter().all(|r| r.count <= caps.max_chunk), "too long a chunk: {step:?}");
        for (at, row) in step.iter().enumerate() {
            assert_eq!(row.slot.model, model, "one step, two models: {step:?}");
            assert!(step[..at].iter().all(|r| r.slot.index != row.slot.index), "twice: {step:?}");
            self.check_row(row);
        }
        self.check_memory();
    }

    fn check_row(&mut self, row: &PlannedRow) {
        assert!(row.count > 0 && row.pos + row.count <= CONTEXT, "{row:?}");
        let slot = row.slot;
        assert!(slot.index < self.model(slot.model).caps.slots, "there is no such slot: {row:?}");
        let holder = Holder { id: row.id, generation: slot.generation };
        let before = self.holders.insert((slot.model, slot.index), holder);
        let record = &self.records[&row.id];
        assert!(record.fate.is_none(), "{:?} runs after its end", row.id);
        assert_eq!(slot.model, record.ticket.model, "not its model: {row:?}");
        if row.pos > 0 {
            assert_eq!(before, Some(holder), "the slot holds another's tokens: {row:?}");
            assert_eq!(row.pos, record.cached, "not what the slot holds: {row:?}");
        } else if let Some(before) = before.filter(|before| before.id != row.id) {
            assert_ne!(before.generation, slot.generation, "it changed hands unsaid: {row:?}");
        }
        let known = record.ticket.prompt_tokens + record.grown - record.undone;
        assert!(row.pos + row.count <= known, "tokens that do not exist: {row:?}");
        assert_eq!(row.logits, row.pos + row.count == known, "{row:?}");
    }

    /// The bytes of all slots are the budget; what the policy says it holds is within it, and no less
    /// than what the engine holds.
    fn check_memory(&self) {
        let budget: u64 = self.models.iter().map(|m| u64::from(m.caps.slots) * m.slot_bytes).sum();
        let holds: u64 = self.holders.keys().map(|(model, _)| self.model(*model).slot_bytes).sum();
        let says = self.policy.kv_held_bytes();
        assert!(holds <= says && says <= budget, "KV bytes: {holds} held, {says} said, {budget}");
    }

    fn end(&mut self, id: RequestId, fate: Fate) {
        let record = self.records.get_mut(&id).expect("only what was submitted ends");
        let before = record.fate.replace(fate);
        assert_eq!(before, None, "{id:?} has two final states");
        record.ended = Some(self.now);
        self.live -= 1;
    }

    /// What became of request `id`; it must have ended.
    pub fn fate(&self, id: u64) -> &Fate {
        self.records[&RequestId(id)].fate.as_ref().expect("it has ended")
    }

    /// The code with which request `id` was refused, if it was.
    pub fn refusal(&self, id: u64) -> Option<ErrorCode> {
        match self.fate(id) {
            Fate::Rejected(reason) => Some(reason.code),
            Fate::Ended(..) => None,
        }
    }
}

fn load(step: &Step) -> Load {
    match step.first() {
        Some(row) if row.count > 1 => Load::Chunk { pos: row.pos, tokens: row.count },
        _ => Load::Decode {
            rows: step.len() as u32,
            positions: step.iter().map(|row| u64::from(row.pos)).sum(),
        },
    }
}
