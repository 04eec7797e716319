//! Starts the threads of the runtime around a loaded model, and ends them.

use super::admission::Admission;
use super::exchange::{Candidate, Exchange};
use super::handle::Handle;
use super::inference::Inference;
use super::limits::Limits;
use super::model::Model;
use super::overrun;
use super::reception::Reception;
use super::shared::Shared;
use crate::core::cost::Shape;
use crate::core::pressure::Pressure;
use crate::core::scheduler::{self, Scheduler, URGENT_SEATS};
use crate::engine::{Engine, StepError};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a reply takes to its client, or a request from it, on a machine that has all hands full.
const DELIVERY: Duration = Duration::from_millis(2);

/// What the reception and the inference thread may be told at once beside requests.
const ERRANDS: usize = 4;

/// The running threads.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    shared: Arc<Shared>,
    shape: Shape,
    exchange: Option<Exchange>,
    threads: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Times the engine's steps, which is its self-test too, then serves. What is `remembered` of
    /// their costs is only held against a few of them.
    ///
    /// # Errors
    /// What the engine said.
    pub fn start(
        model: Model,
        engine: Box<dyn Engine>,
        remembered: Option<Shape>,
        limits: &Limits,
        facts: Map<String, Value>,
    ) -> Result<Self, StepError> {
        Ok(Self::serve(Candidate::new(model, engine, remembered)?, limits, facts))
    }

    /// Serves a model that has shown that it runs. As many requests are held at once as it has
    /// slots and `limits` has places in the queue, also when another model takes its place.
    pub fn serve(candidate: Candidate, limits: &Limits, facts: Map<String, Value>) -> Self {
        let seats = usize::from(candidate.slots()) + limits.queue;
        let shape = candidate.shape();
        let scheduler = Scheduler::new(
            Vec::new(),
            scheduler::Limits {
                queue: limits.queue,
                max_step: limits.max_step,
                delivery: DELIVERY,
            },
        );
        let shared = Shared::new(seats, candidate.facts(facts));
        let (to_reception, errands) = sync_channel(seats + URGENT_SEATS + ERRANDS);
        let (to_inference, jobs) = sync_channel(seats + URGENT_SEATS);
        let (give_order, orders) = sync_channel(ERRANDS);
        let plan = candidate.plan();
        let (model, engine) = candidate.into_parts();
        let caps = plan.caps.clone();
        let mut inference = Inference::new(scheduler, jobs, orders, Arc::clone(&shared));
        let id = inference.install(engine, plan);
        let admission = Admission::new(model, caps, limits.clone(), id, &shared);
        let reception = Reception::new(admission, to_inference, Arc::clone(&shared));
        let watched = Arc::clone(&shared);
        let overrun = spawn("slmd-overrun", move || overrun::watch(&watched));
        shared.set_overrun_thread(overrun.thread().clone());
        let threads = vec![
            overrun,
            spawn("slmd-admission", move || reception.run(&errands)),
            spawn("slmd-inference", move || inference.run()),
        ];
        let exchange = Exchange {
            shared: Arc::clone(&shared),
            admission: to_reception.clone(),
            inference: give_order,
            served: Some(id),
        };
        let handle = Handle { shared: Arc::clone(&shared), admission: to_reception };
        Self { handle, shared, shape, exchange: Some(exchange), threads }
    }

    /// What changes the model that is served; once. It must be gone before the runtime ends.
    pub const fn exchange(&mut self) -> Option<Exchange> {
        self.exchange.take()
    }

    /// Serves a second model to those who ask for it.
    ///
    /// # Panics
    /// If what changes models was taken already.
    pub fn add_second(&mut self, candidate: Candidate, limits: &Limits) {
        let exchange = self.exchange.as_ref().expect("it is not taken yet");
        if let Err(error) = exchange.add_second(candidate, limits) {
            tracing::error!(%error, "there is no second model");
        }
    }

    /// Whether steps end within their bounds, and what is to be done is done; for a watchdog.
    pub fn is_alive(&self) -> bool {
        self.shared.is_alive()
    }

    /// How many requests run, and how many more are held.
    pub fn load(&self) -> (usize, usize) {
        self.shared.load()
    }

    /// What steps cost, as it was measured or remembered at the start.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// For transports.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Refuses what comes from now on; what still runs after `limit` is told `shutting_down`.
    pub fn drain(&self, limit: Duration) {
        self.shared.drain(self.shared.now().after(limit));
    }

    /// Works as hard as this from now on.
    pub fn press(&self, pressure: Pressure) {
        self.shared.press(pressure);
    }

    /// How long the step that runs now has taken, if one runs; for a watchdog.
    pub fn step_age(&self) -> Option<Duration> {
        self.shared.step_age()
    }

    /// Waits for the threads. They end after [`Runtime::drain`], once the transports' handles are
    /// gone.
    pub fn join(self) {
        drop((self.handle, self.exchange));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a runtime thread panicked");
            }
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("the system can start three threads")
}
