//! Starts the threads of the runtime around a loaded model, and ends them.

use super::admission::Admission;
use super::calibrate;
use super::handle::Handle;
use super::inference::Inference;
use super::limits::Limits;
use super::model::Model;
use super::overrun;
use super::shared::Shared;
use crate::core::cost::Shape;
use crate::core::pressure::Pressure;
use crate::core::scheduler::{self, ModelPlan, Scheduler, URGENT_SEATS};
use crate::engine::{Engine, StepError, pin};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a reply takes to its client, or a request from it, on a machine that has all hands full.
const DELIVERY: Duration = Duration::from_millis(2);

/// The running threads.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    shared: Arc<Shared>,
    shape: Shape,
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
        mut engine: Box<dyn Engine>,
        remembered: Option<Shape>,
        limits: &Limits,
        mut facts: Map<String, Value>,
    ) -> Result<Self, StepError> {
        // Only for the steps: the threads below are to run anywhere.
        let pinned = pin(&engine.affinity());
        let costs = calibrate::costs(engine.as_mut(), remembered)?;
        drop(pinned);
        let (caps, footprint) = (engine.caps().clone(), engine.footprint());
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
        let seats = usize::from(caps.slots) + limits.queue;
        let slot_bytes = footprint.kv_bytes / u64::from(caps.slots);
        let scheduler = Scheduler::new(
            vec![ModelPlan { caps: caps.clone(), costs, slot_bytes }],
            scheduler::Limits {
                queue: limits.queue,
                max_step: limits.max_step,
                delivery: DELIVERY,
            },
        );
        let shared = Shared::new(seats, facts);
        let (to_admission, work) = sync_channel(seats + URGENT_SEATS);
        let (to_inference, jobs) = sync_channel(seats + URGENT_SEATS);
        let admission = Admission::new(model, caps, limits.clone(), to_inference, &shared);
        let mut threads = Vec::new();
        if let Some(stopper) = engine.stopper() {
            let watched = Arc::clone(&shared);
            let thread = spawn("slmd-overrun", move || overrun::watch(&watched, stopper.as_ref()));
            shared.set_overrun_thread(thread.thread().clone());
            threads.push(thread);
        }
        let inference = Inference::new(engine, scheduler, jobs, Arc::clone(&shared));
        threads.push(spawn("slmd-admission", move || admission.run(&work)));
        threads.push(spawn("slmd-inference", move || inference.run()));
        let handle = Handle { shared: Arc::clone(&shared), admission: to_admission };
        Ok(Self { handle, shared, shape: costs.shape(), threads })
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
        drop(self.handle);
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
        .expect("the system can start two threads")
}
