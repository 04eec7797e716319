//! A model in place of another, while transports go on submitting.
//!
//! Side by side, where the memory holds both: what was admitted to the old model is answered by it,
//! what comes later by the new one. One after the other, where it does not: what has not begun waits
//! at the reception, or is told `reloading` if its deadline cannot be met.
//!
//! Every call here blocks until it is done; none belongs on an event loop.

use super::admission::Admission;
use super::calibrate;
use super::inference::Order;
use super::limits::Limits;
use super::model::{Model, ModelError};
use super::reception::Errand;
use super::shared::{Shared, Work};
use crate::bundle::Task;
use crate::core::cost::{Costs, Shape};
use crate::core::plan::ModelId;
use crate::core::scheduler::ModelPlan;
use crate::engine::{Engine, StepError, pin};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A model that has shown that it runs.
pub struct Candidate {
    model: Model,
    engine: Box<dyn Engine>,
    costs: Costs,
}

impl Candidate {
    /// Times the engine's steps, which is its self-test too. What is `remembered` of their costs is
    /// only held against a few of them.
    ///
    /// # Errors
    /// What the engine said.
    pub fn new(
        model: Model,
        mut engine: Box<dyn Engine>,
        remembered: Option<Shape>,
    ) -> Result<Self, StepError> {
        // Only for the steps: the threads of others are to run anywhere.
        let pinned = pin(&engine.affinity());
        let costs = calibrate::costs(engine.as_mut(), remembered)?;
        drop(pinned);
        Ok(Self { model, engine, costs })
    }

    /// What its steps cost.
    pub const fn shape(&self) -> Shape {
        self.costs.shape()
    }

    /// Requests that it answers at the same time.
    pub fn slots(&self) -> u16 {
        self.engine.caps().slots
    }

    pub(super) fn plan(&self) -> ModelPlan {
        let caps = self.engine.caps().clone();
        let slot_bytes = self.engine.footprint().kv_bytes / u64::from(caps.slots);
        ModelPlan { caps, costs: self.costs, slot_bytes }
    }

    /// What the status says of it, beside `facts`.
    pub(super) fn facts(&self, mut facts: Map<String, Value>) -> Map<String, Value> {
        let (caps, footprint) = (self.engine.caps(), self.engine.footprint());
        facts.insert(
            "slots".into(),
            json!({ "count": caps.slots, "context_tokens": caps.context_tokens }),
        );
        facts.insert(
            "footprint".into(),
            json!({
                "weights_bytes": footprint.weights_bytes, "kv_bytes": footprint.kv_bytes,
                "buffers_bytes": footprint.buffers_bytes,
            }),
        );
        facts
    }

    pub(super) fn into_parts(self) -> (Model, Box<dyn Engine>) {
        (self.model, self.engine)
    }
}

/// Why nothing was exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The runtime has ended, or is about to.
    #[error("slmd is going down")]
    Ended,
    /// A task does not compile; the old ones stay.
    #[error(transparent)]
    Tasks(#[from] ModelError),
}

/// Changes what a runtime serves. There is one for each [`Runtime`](super::Runtime).
#[derive(Debug)]
pub struct Exchange {
    pub(super) shared: Arc<Shared>,
    pub(super) admission: SyncSender<Errand>,
    pub(super) inference: SyncSender<Order>,
    /// What is served; none between [`Exchange::vacate`] and [`Exchange::occupy`].
    pub(super) served: Option<ModelId>,
}

impl Exchange {
    /// Other tasks and limits for the model that is served. What was admitted keeps what it has.
    ///
    /// # Errors
    /// [`ExchangeError`]; everything is as before then.
    pub fn retask(&self, tasks: Vec<Task>, limits: &Limits) -> Result<(), ExchangeError> {
        let (done, outcome) = sync_channel(1);
        self.tell(Errand::Tasks { tasks, limits: limits.clone(), done })?;
        wait(&outcome)??;
        self.order(Order::Pace(limits.max_step))
    }

    /// Serves `candidate` from now on, beside the old model until that has no more to answer;
    /// returns when it is gone.
    ///
    /// # Errors
    /// [`ExchangeError::Ended`].
    pub fn replace(
        &mut self,
        candidate: Candidate,
        limits: &Limits,
        facts: Map<String, Value>,
    ) -> Result<(), ExchangeError> {
        let old = self.served;
        self.occupy(candidate, limits, facts)?;
        let Some(old) = old else { return Ok(()) };
        let (gone, empty) = sync_channel(1);
        self.order(Order::Retire { model: old, gone })?;
        wait(&empty)
    }

    /// Serves nothing until [`Exchange::occupy`], which will come `load` after the old model has
    /// gone: what it has begun is answered first. Returns when it is gone.
    ///
    /// # Errors
    /// [`ExchangeError::Ended`].
    pub fn vacate(&mut self, load: Duration) -> Result<(), ExchangeError> {
        let Some(old) = self.served.take() else { return Ok(()) };
        self.shared.expect_ready(self.shared.now().after(load));
        let (done, held) = sync_channel(1);
        self.tell(Errand::Hold(done))?;
        wait(&held)?;
        let (back, returned) = sync_channel::<Vec<Work>>(1);
        self.order(Order::Withdraw { model: old, load, back })?;
        self.tell(Errand::Return(wait(&returned)?))?;
        let (gone, empty) = sync_channel(1);
        self.order(Order::Retire { model: old, gone })?;
        wait(&empty)
    }

    /// Serves `candidate` from now on: first what waits at the reception.
    ///
    /// # Errors
    /// [`ExchangeError::Ended`].
    pub fn occupy(
        &mut self,
        candidate: Candidate,
        limits: &Limits,
        facts: Map<String, Value>,
    ) -> Result<(), ExchangeError> {
        let facts = candidate.facts(facts);
        let plan = candidate.plan();
        let caps = plan.caps.clone();
        let (model, engine) = candidate.into_parts();
        let (done, installed) = sync_channel(1);
        let max_step = limits.max_step;
        self.order(Order::Install { engine, plan, max_step, is_first: true, done })?;
        let id = wait(&installed)?;
        self.served = Some(id);
        self.shared.set_facts(facts);
        let admission = Admission::new(model, caps, limits.clone(), id, &self.shared);
        let (done, serves) = sync_channel(1);
        self.tell(Errand::Serve(Box::new(admission), done))?;
        wait(&serves)
    }

    /// Serves `candidate` beside the first model, to those who ask for it.
    ///
    /// # Errors
    /// [`ExchangeError::Ended`].
    pub fn add_second(&self, candidate: Candidate, limits: &Limits) -> Result<(), ExchangeError> {
        let plan = candidate.plan();
        let caps = plan.caps.clone();
        let (model, engine) = candidate.into_parts();
        let (done, installed) = sync_channel(1);
        let max_step = limits.max_step;
        self.order(Order::Install { engine, plan, max_step, is_first: false, done })?;
        let id = wait(&installed)?;
        let admission = Admission::new(model, caps, limits.clone(), id, &self.shared);
        self.tell(Errand::Second(Box::new(admission)))
    }

    /// While no model is served: another one will be about `load` from now.
    pub fn expect_ready(&self, load: Duration) {
        if self.served.is_none() {
            self.shared.expect_ready(self.shared.now().after(load));
        }
    }

    fn tell(&self, errand: Errand) -> Result<(), ExchangeError> {
        self.admission.send(errand).map_err(|_| ExchangeError::Ended)
    }

    fn order(&self, order: Order) -> Result<(), ExchangeError> {
        self.inference.send(order).map_err(|_| ExchangeError::Ended)?;
        self.shared.wake();
        Ok(())
    }
}

/// Whoever was to say that it is done has gone, if this fails.
fn wait<T>(said: &Receiver<T>) -> Result<T, ExchangeError> {
    said.recv().map_err(|_| ExchangeError::Ended)
}
