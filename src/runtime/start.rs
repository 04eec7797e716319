//! Starts the threads of the runtime around a loaded model, and ends them.

use super::admission::Admission;
use super::handle::Handle;
use super::inference::Inference;
use super::limits::Limits;
use super::model::Model;
use super::shared::Shared;
use crate::core::cost::Costs;
use crate::core::plan::{ModelId, Row, Slot, StepPlan, Want};
use crate::core::pressure::Pressure;
use crate::core::scheduler::{self, ModelPlan, Scheduler, URGENT_SEATS};
use crate::engine::{Engine, StepError};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The running threads.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Runs the engine once at its largest and its smallest step, which is both its self-test and
    /// the first estimate of its costs, then serves.
    ///
    /// # Errors
    /// What the engine said.
    pub fn start(
        model: Model,
        mut engine: Box<dyn Engine>,
        limits: &Limits,
        mut facts: Map<String, Value>,
    ) -> Result<Self, StepError> {
        let costs = calibrate(engine.as_mut())?;
        tracing::info!(decode = ?costs.decode(), further_token = ?costs.token(), "calibrated");
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
            scheduler::Limits { queue: limits.queue, max_step: limits.max_step },
        );
        let shared = Shared::new(seats, facts);
        let (to_admission, work) = sync_channel(seats + URGENT_SEATS);
        let (to_inference, jobs) = sync_channel(seats + URGENT_SEATS);
        let admission = Admission::new(model, caps, limits.clone(), to_inference, &shared);
        let inference = Inference::new(engine, scheduler, jobs, Arc::clone(&shared));
        let threads = vec![
            spawn("slmd-admission", move || admission.run(&work)),
            spawn("slmd-inference", move || inference.run()),
        ];
        let handle = Handle { shared: Arc::clone(&shared), admission: to_admission };
        Ok(Self { handle, shared, threads })
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

/// Steps of one token that are timed.
const DECODES: u32 = 5;

/// Tokens of the first step, whose time says nothing.
const WARM_UP: usize = 8;

/// Times a full chunk and some single tokens in slot 0.
fn calibrate(engine: &mut dyn Engine) -> Result<Costs, StepError> {
    let caps = engine.caps().clone();
    let slot = Slot { model: ModelId(0), index: 0, generation: 0 };
    let chunk = caps.max_chunk.min(caps.context_tokens.saturating_sub(DECODES)).max(1);
    let tokens: Vec<u32> = (0..chunk).map(|i| i % caps.vocab_size).collect();
    let mut time = |pos: u32, tokens: &[u32]| {
        let began = Instant::now();
        let row = Row { slot, pos, tokens, want: Want::Last };
        engine.step(&StepPlan { rows: &[row] }).map(|()| began.elapsed())
    };
    // The first step touches weights and buffers for the first time: a short one, not timed.
    time(0, &tokens[..tokens.len().min(WARM_UP)])?;
    let prefill = time(0, &tokens)?;
    let mut decodes = (0..DECODES.min(caps.context_tokens - chunk))
        .map(|i| time(chunk + i, &tokens[..1]))
        .collect::<Result<Vec<_>, _>>()?;
    decodes.sort_unstable();
    let decode = decodes.get(decodes.len() / 2).copied().unwrap_or(prefill);
    let logits = engine.logits(0);
    if logits.iter().any(|l| l.is_nan()) {
        return Err(StepError::Engine("the self-test gave logits that are not numbers".to_owned()));
    }
    engine.release(slot);
    Ok(Costs::new(decode, prefill.saturating_sub(decode) / chunk.saturating_sub(1).max(1)))
}
