//! The one thread that owns the engine: asks the scheduler, runs the step, says what happened.

use super::job::Job;
use super::shared::{Shared, Snapshot, StepTotals};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::plan::{MAX_ROWS, ModelId, Row, StepPlan, Want};
use crate::core::request::{RequestId, StopReason, Time};
use crate::core::scheduler::{Input, Output, RowOutcome, Scheduler, Step};
use crate::engine::{Engine, StepError, pin, trim_heap};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// A step hangs when it takes so many times as long as it should,
const HUNG_TIMES: u32 = 20;
/// and at least this long.
const HUNG_LEAST: Duration = Duration::from_secs(2);

/// What large steps have left free in the heap is given back after so long without work: at once
/// would have the next prompt pay for it again.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// The state of the inference thread.
pub struct Inference {
    engine: Box<dyn Engine>,
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
        engine: Box<dyn Engine>,
        scheduler: Scheduler,
        inbox: Receiver<Job>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            engine,
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
        let _pinned = pin(&self.engine.affinity());
        while !(self.scheduler.is_empty() && (self.closed || self.shared.drain_until().is_some())) {
            self.turn();
        }
        self.refuse_the_rest();
        self.shared.end();
    }

    fn turn(&mut self) {
        self.take_in();
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
                    self.engine.release(slot);
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
        std::thread::park_timeout(until.map_or(longest, |t| t.since(now).min(longest)));
        if self.untrimmed && self.shared.now().since(now) >= TRIM_AFTER {
            trim_heap();
            self.untrimmed = false;
        }
    }

    fn take_in(&mut self) {
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
        let now = self.shared.now();
        for id in self.shared.take_cancels() {
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
        self.shared.step_begins(started, limit);
        if !std::mem::replace(&mut self.watched, true) {
            self.shared.watch_steps();
        }
        self.untrimmed |= step.iter().any(|row| row.count > 1);
        let result = self.run_engine(step);
        self.shared.step_ended();
        let ended = self.shared.now();
        if let Err(error) = &result {
            tracing::error!(%error, rows = step.len(), "a step failed");
        }
        let mut outcomes = heapless::Vec::<(RequestId, RowOutcome), MAX_ROWS>::new();
        for (index, row) in step.iter().enumerate() {
            let job = self.jobs.get_mut(&row.id).expect("the scheduler plans jobs that are here");
            let outcome = match &result {
                Ok(()) if row.logits => job.advance(self.engine.logits(index), ended),
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

    fn run_engine(&mut self, step: &Step) -> Result<(), StepError> {
        let rows: heapless::Vec<Row<'_>, MAX_ROWS> = step
            .iter()
            .map(|row| {
                let (start, end) = (row.pos as usize, (row.pos + row.count) as usize);
                let tokens = &self.jobs[&row.id].tokens[start..end];
                let want = if row.logits { Want::Last } else { Want::None };
                Row { slot: row.slot, pos: row.pos, tokens, want }
            })
            .collect();
        self.engine.step(&StepPlan { rows: &rows })
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
        let costs = self.scheduler.costs(ModelId(0));
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
