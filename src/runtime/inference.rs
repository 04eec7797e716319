//! The one thread that owns the engines: asks the scheduler, runs the step, says what happened.
//!
//! Mostly there is one engine; while a model is exchanged there may be two, or none.

use super::job::Job;
use super::shared::{Shared, Snapshot, StepTotals, Work};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::plan::{MAX_ROWS, ModelId, Row, StepPlan, Want};
use crate::core::request::{RequestId, StopReason, Time};
use crate::core::scheduler::{Input, MAX_MODELS, ModelPlan, Output, RowOutcome, Scheduler, Step};
use crate::engine::{Engine, Pin, StepError, Stop, pin, trim_heap};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

/// A step hangs when it takes so many times as long as it should,
const HUNG_TIMES: u32 = 20;
/// and at least this long.
const HUNG_LEAST: Duration = Duration::from_secs(2);

/// What large steps have left free in the heap is given back after so long without work: at once
/// would have the next prompt pay for it again.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// What the inference thread is told about its models.
pub enum Order {
    /// Serve this model too; its number is said.
    Install {
        engine: Box<dyn Engine>,
        plan: ModelPlan,
        max_step: Duration,
        /// Whether it is the one whose figures are shown.
        is_first: bool,
        done: SyncSender<ModelId>,
    },
    /// Give back what was not begun; no model is served until `load` after the rest has ended.
    Withdraw { model: ModelId, load: Duration, back: SyncSender<Vec<Work>> },
    /// Let go of the model once it has nothing to do.
    Retire { model: ModelId, gone: SyncSender<()> },
    /// No step is planned to take longer from now on.
    Pace(Duration),
}

/// An engine that is served.
struct Served {
    engine: Box<dyn Engine>,
    brake: Option<Arc<dyn Stop>>,
}

/// The state of the inference thread.
pub struct Inference {
    engines: [Option<Served>; MAX_MODELS],
    orders: Receiver<Order>,
    /// The model that came last, of those that are the first of two.
    newest_model: ModelId,
    /// The model of the last step.
    stepped: Option<ModelId>,
    /// Models that go when they have nothing to do, and who waits for that.
    leaving: Vec<(ModelId, SyncSender<()>)>,
    scheduler: Scheduler,
    jobs: BTreeMap<RequestId, Job>,
    inbox: Receiver<Job>,
    shared: Arc<Shared>,
    /// The newest request seen: whoever is cancelled before that has been here already.
    newest: RequestId,
    /// Cancelled before they came through admission.
    cancelled_early: BTreeSet<RequestId>,
    steps: StepTotals,
    /// Whether somebody looks whether steps hang.
    watched: bool,
    /// Whether a large step ran since the heap was last trimmed.
    untrimmed: bool,
    drains: bool,
    closed: bool,
}

impl Inference {
    /// The thread's state; [`Inference::run`] is its body.
    pub fn new(
        scheduler: Scheduler,
        inbox: Receiver<Job>,
        orders: Receiver<Order>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            engines: Default::default(),
            orders,
            newest_model: ModelId(0),
            stepped: None,
            leaving: Vec::new(),
            scheduler,
            jobs: BTreeMap::new(),
            inbox,
            shared,
            newest: RequestId(0),
            cancelled_early: BTreeSet::new(),
            steps: StepTotals::default(),
            watched: false,
            untrimmed: true,
            drains: false,
            closed: false,
        }
    }

    /// Serves until the last [`Handle`](super::Handle) is gone or draining is done.
    pub fn run(mut self) {
        self.shared.set_inference_thread(std::thread::current());
        let (mut pinned, mut pinned_for) = (None, None);
        while !(self.scheduler.is_empty() && (self.closed || self.shared.drain_until().is_some())) {
            if pinned_for != Some(self.newest_model) {
                // The old CPUs are given back first: the new ones are counted from all there are.
                drop(pinned.take());
                (pinned, pinned_for) = (self.pin(), Some(self.newest_model));
            }
            self.turn();
        }
        self.shared.turn_rests();
        self.refuse_the_rest();
        self.shared.end();
    }

    fn turn(&mut self) {
        self.shared.turn_begins();
        self.take_in();
        self.let_go();
        let now = self.shared.now();
        match self.scheduler.poll(now) {
            Output::Step(step) => self.step(&step),
            Output::Idle(until) => self.rest(now, until),
            Output::Rejected(id, reason) => {
                if let Some(job) = self.jobs.remove(&id) {
                    self.shared.count(|c| c.refuse(reason.code));
                    job.refuse(reason);
                }
            }
            Output::Finished { id, reason, slot } => {
                if let Some(slot) = slot {
                    self.engine(slot.model).release(slot);
                    self.scheduler.handle(now, Input::SlotFreed(slot));
                }
                self.publish();
                self.finish(id, reason);
            }
        }
    }

    fn rest(&mut self, now: Time, until: Option<Time>) {
        self.publish();
        self.watched = false;
        let longest = if self.untrimmed { TRIM_AFTER } else { Duration::from_secs(3600) };
        self.shared.turn_rests();
        std::thread::park_timeout(until.map_or(longest, |t| t.since(now).min(longest)));
        if self.untrimmed && self.shared.now().since(now) >= TRIM_AFTER {
            trim_heap();
            self.untrimmed = false;
        }
    }

    fn take_in(&mut self) {
        // Whoever orders has seen to it that what is for the old model is in the inbox by now.
        let orders: Vec<Order> = self.orders.try_iter().collect();
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.admit(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    break;
                }
            }
        }
        orders.into_iter().for_each(|order| self.obey(order));
        let now = self.shared.now();
        for id in self.shared.take_cancels(|id| self.jobs.contains_key(&id)) {
            if self.jobs.contains_key(&id) {
                self.scheduler.handle(now, Input::Cancel(id, StopReason::Cancelled));
            } else if id > self.newest {
                self.cancelled_early.insert(id);
            }
        }
        if let Some(pressure) = self.shared.take_pressure() {
            self.scheduler.handle(now, Input::Pressure(pressure));
        }
        if let Some(until) = self.shared.drain_until()
            && !self.drains
        {
            self.drains = true;
            self.scheduler.handle(now, Input::Drain { until });
        }
    }

    fn obey(&mut self, order: Order) {
        // Who gave the order waits for its end, unless the process is about to end.
        match order {
            Order::Install { engine, plan, max_step, is_first, done } => {
                self.scheduler.set_max_step(max_step);
                let first = self.newest_model;
                let id = self.install(engine, plan);
                if !is_first {
                    self.newest_model = first;
                }
                let _ = done.send(id);
            }
            Order::Withdraw { model, load, back } => {
                let works = self.withdraw(model);
                let now = self.shared.now();
                self.shared.expect_ready(now.after(self.scheduler.time_left(now) + load));
                let _ = back.send(works);
            }
            Order::Retire { model, gone } => self.leaving.push((model, gone)),
            Order::Pace(max_step) => self.scheduler.set_max_step(max_step),
        }
    }

    /// Serves this model too, from its next step on.
    pub fn install(&mut self, engine: Box<dyn Engine>, plan: ModelPlan) -> ModelId {
        let id = self.scheduler.install(plan);
        let brake = engine.stopper();
        self.engines[usize::from(id.0)] = Some(Served { engine, brake });
        (self.newest_model, self.stepped, self.untrimmed) = (id, None, true);
        id
    }

    /// Keeps this thread where the newest engine wants the steps to run.
    fn pin(&self) -> Option<Pin> {
        let newest = &self.engines[usize::from(self.newest_model.0)];
        newest.as_ref().and_then(|served| pin(&served.engine.affinity()))
    }

    fn withdraw(&mut self, model: ModelId) -> Vec<Work> {
        let ids = self.scheduler.withdraw(model);
        if let Some(first) = ids.first() {
            // They come again.
            self.newest = self.newest.min(RequestId(first.0.saturating_sub(1)));
        }
        let jobs = ids.iter().filter_map(|id| self.jobs.remove(id));
        jobs.filter_map(Job::into_work).collect()
    }

    /// Lets go of the models that are to go and have nothing to do.
    fn let_go(&mut self) {
        let Self { leaving, scheduler, engines, shared, .. } = self;
        if leaving.is_empty() {
            return;
        }
        leaving.retain(|(model, gone)| {
            if scheduler.uses(*model) {
                return true;
            }
            shared.set_brake(None);
            engines[usize::from(model.0)] = None;
            scheduler.retire(*model);
            trim_heap();
            let _ = gone.send(());
            false
        });
        self.stepped = None;
    }

    fn engine(&mut self, model: ModelId) -> &mut dyn Engine {
        let served = self.engines[usize::from(model.0)].as_mut();
        served.expect("the scheduler plans models that are here").engine.as_mut()
    }

    fn admit(&mut self, job: Job) {
        let (now, ticket) = (self.shared.now(), job.ticket);
        self.newest = ticket.id;
        self.jobs.insert(ticket.id, job);
        self.scheduler.handle(now, Input::Submit(ticket));
        if self.cancelled_early.remove(&ticket.id) {
            self.scheduler.handle(now, Input::Cancel(ticket.id, StopReason::Cancelled));
        }
        let newest = self.newest;
        self.cancelled_early.retain(|id| *id > newest);
    }

    fn step(&mut self, step: &Step) {
        let started = self.shared.now();
        for row in step.iter() {
            let job = self.jobs.get_mut(&row.id).expect("the scheduler plans jobs that are here");
            job.started(started, self.scheduler.costs(row.slot.model));
        }
        let predicted = self.scheduler.predict(step);
        let limit = started.after((predicted * HUNG_TIMES).max(HUNG_LEAST));
        let model = step.first().map_or(self.newest_model, |row| row.slot.model);
        if self.stepped.replace(model) != Some(model) {
            let served = self.engines[usize::from(model.0)].as_ref();
            self.shared.set_brake(served.and_then(|served| served.brake.clone()));
        }
        self.shared.step_begins(started, limit);
        if !std::mem::replace(&mut self.watched, true) {
            self.shared.watch_steps();
        }
        self.untrimmed |= step.iter().any(|row| row.count > 1);
        let result = self.run_engine(model, step);
        self.shared.step_ended();
        let ended = self.shared.now();
        if let Err(error) = &result {
            tracing::error!(%error, rows = step.len(), "a step failed");
        }
        let mut outcomes = heapless::Vec::<(RequestId, RowOutcome), MAX_ROWS>::new();
        for (index, row) in step.iter().enumerate() {
            let job = self.jobs.get_mut(&row.id).expect("the scheduler plans jobs that are here");
            let served = self.engines[usize::from(model.0)].as_mut();
            let engine = served.expect("it has just made a step").engine.as_mut();
            let outcome = match &result {
                Ok(()) if row.logits => job.advance(engine.logits(index), ended),
                Ok(()) => RowOutcome::Fed,
                // One of several may be at fault: each is tried alone. A stop that came too late
                // for a hung step and hit this one is no fault at all.
                Err(_) if step.len() > 1 => RowOutcome::Again,
                Err(StepError::Stopped) if ended < limit => RowOutcome::Again,
                Err(StepError::Stopped) if job.ticket.deadline.answer <= ended => {
                    RowOutcome::Ended(StopReason::Deadline, 0)
                }
                Err(error) => {
                    job.failed(error.to_string());
                    RowOutcome::Ended(StopReason::Failed, 0)
                }
            };
            outcomes.push((row.id, outcome)).expect("as many as rows");
        }
        self.steps.count(step.iter().map(|row| row.count).max().unwrap_or(1), ended.since(started));
        // What is done with the logits is part of what a step costs a client.
        let now = self.shared.now();
        let took = now.since(started);
        self.shared.predicted(|seen| seen.step(predicted, took));
        for row in step {
            if let Some(job) = self.jobs.get_mut(&row.id) {
                job.stepped(step, took);
            }
        }
        self.scheduler.handle(now, Input::Stepped { took, rows: &outcomes });
        self.publish();
    }

    fn run_engine(&mut self, model: ModelId, step: &Step) -> Result<(), StepError> {
        let rows: heapless::Vec<Row<'_>, MAX_ROWS> = step
            .iter()
            .map(|row| {
                let (start, end) = (row.pos as usize, (row.pos + row.count) as usize);
                let tokens = &self.jobs[&row.id].tokens[start..end];
                let want = if row.logits { Want::Last } else { Want::None };
                Row { slot: row.slot, pos: row.pos, tokens, want }
            })
            .collect();
        let served = self.engines[usize::from(model.0)].as_mut();
        let engine = served.expect("the scheduler plans models that are here").engine.as_mut();
        engine.step(&StepPlan { rows: &rows })
    }

    fn finish(&mut self, id: RequestId, reason: StopReason) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let (priced, took) = job.priced_and_took();
        self.shared.predicted(|seen| seen.request(priced, took));
        let (prompt, answer) = (job.ticket.prompt_tokens, job.generated());
        let code = job.finish(reason, self.shared.now());
        tracing::info!(request = id.0, cause = reason.cause(), prompt, answer, "request ended");
        self.shared.count(|c| c.end(code, prompt, answer));
    }

    fn publish(&self) {
        let (running, waiting) = self.scheduler.load();
        let costs = self.scheduler.costs(self.newest_model);
        self.shared.publish(Snapshot {
            running,
            waiting,
            kv_held_bytes: self.scheduler.kv_held_bytes(),
            costs,
            steps: self.steps,
        });
    }

    /// What came in while the last answer went out.
    fn refuse_the_rest(&mut self) {
        while let Ok(job) = self.inbox.recv_timeout(Duration::from_millis(50)) {
            job.refuse(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
    }
}
