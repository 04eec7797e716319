//! The engines: whoever can turn a step plan into logits.
//!
//! An engine owns the weights and a fixed pool of KV slots, both taken once at load. It knows
//! nothing of requests, text or time. All engines of one bundle give the same logits within the
//! bound stated in `docs/reproducibility.md`.

mod affinity;
pub mod agreement;
pub mod choice;
mod memory;
#[cfg(feature = "ort")]
pub mod ort;
pub mod scripted;
#[cfg(feature = "tract")]
pub mod tract;

use crate::core::cpus::CpuList;
use crate::core::plan::{Caps, KvType, Slot, StepPlan, Want};
use crate::core::provider::Provider;
pub use crate::kernels::{share_heap, trim_heap};
pub use affinity::{Pin, allowed_cpus, pin, run_soon};
pub use memory::{
    ProcessMemory, peak_rss_bytes, peak_rss_bytes_of, process_memory, process_memory_of,
    reset_peak, rss_bytes,
};

/// How an engine is to be loaded.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Threads for one step, at least 1.
    pub threads: usize,
    /// KV slots, at least 1: as many sessions can be under way.
    pub slots: u16,
    /// Positions in a slot, prompt and answer together.
    pub context_tokens: u32,
    /// The most tokens of one row in one step.
    pub max_chunk: u32,
    /// How keys and values are stored.
    pub kv: KvType,
    /// The CPUs that the threads of a step are kept on; none: any. The thread that calls
    /// [`Engine::step`] is its owner's to keep there: [`pin`].
    pub affinity: CpuList,
    /// The execution provider of ONNX Runtime; none: the CPU's own.
    pub provider: Option<Provider>,
    /// How the file begins to which ONNX Runtime writes what each operator took, when the engine is
    /// dropped; none: nothing is written.
    pub profile: Option<std::path::PathBuf>,
}

impl Default for EngineOptions {
    /// One thread and one short slot.
    fn default() -> Self {
        Self {
            threads: 1,
            slots: 1,
            context_tokens: 512,
            max_chunk: 64,
            kv: KvType::Auto,
            affinity: CpuList::default(),
            provider: None,
            profile: None,
        }
    }
}

/// Bytes, as the engine really holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Weights, prepacked copies included.
    pub weights_bytes: u64,
    /// All KV slots.
    pub kv_bytes: u64,
    /// Inputs, logits and what else is kept for a step.
    pub buffers_bytes: u64,
}

/// Which engine this is, for logs, `status` and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `ort`, `tract` or `scripted`.
    pub name: &'static str,
    /// The version of the library behind it.
    pub version: String,
    /// Where that library was found, if it is loaded at run time.
    pub library: Option<std::path::PathBuf>,
    /// The execution provider that it runs on.
    pub provider: String,
}

/// A step that did not happen; the slots of its rows hold nothing trustworthy beyond `pos`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A [`Stop`] ended it.
    #[error("the step was stopped")]
    Stopped,
    /// The plan asks for what [`Caps`] rules out: a fault of the caller.
    #[error("the plan does not fit the engine: {0}")]
    Plan(String),
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(String),
}

/// A model that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The library is not there, or too old.
    #[error("{0}")]
    Library(String),
    /// The graph has something that the engine does not support.
    #[error("{file}: {problem}")]
    Unsupported {
        /// The file at fault.
        file: String,
        /// What is not supported, and what is.
        problem: String,
    },
    /// The engine's own words.
    #[error("{file}: {problem}")]
    Engine {
        /// The file at fault.
        file: String,
        /// What went wrong.
        problem: String,
    },
}

/// Ends a running step from another thread; cheap to clone.
pub trait Stop: Send + Sync {
    /// Asks the step that runs now, if any, to end early with [`StepError::Stopped`].
    fn stop(&self);
}

/// A model in memory that computes logits.
pub trait Engine: Send {
    /// What it can do.
    fn caps(&self) -> &Caps;

    /// Which engine and library it is.
    fn info(&self) -> &EngineInfo;

    /// The memory it holds.
    fn footprint(&self) -> Footprint;

    /// Runs one step. The logits asked for are then read with [`Engine::logits`].
    ///
    /// # Errors
    /// [`StepError`]; the engine stays usable.
    fn step(&mut self, plan: &StepPlan<'_>) -> Result<(), StepError>;

    /// The logits of row `row` of the last successful step, `[n, vocab_size]` with n = 0, 1 or the
    /// row's token count by its [`Want`]. The caller may write on them.
    fn logits(&mut self, row: usize) -> &mut [f32];

    /// The CPUs that the calling thread of [`Engine::step`] belongs on; none: any.
    fn affinity(&self) -> CpuList {
        CpuList::default()
    }

    /// Says that `slot` is no longer in use; engines may give pages back.
    fn release(&mut self, slot: Slot);

    /// A handle that ends a running step, where [`Caps::stop`] says that this is possible.
    fn stopper(&self) -> Option<std::sync::Arc<dyn Stop>>;
}

/// Refuses what `caps` rules out, in words; every engine calls it first.
///
/// # Errors
/// [`StepError::Plan`].
pub fn check_plan(caps: &Caps, plan: &StepPlan<'_>) -> Result<(), StepError> {
    let fault = |text: String| Err(StepError::Plan(text));
    let rows = plan.rows;
    if rows.is_empty() || rows.len() > usize::from(caps.max_rows) {
        return fault(format!("{} rows, between 1 and {} can run", rows.len(), caps.max_rows));
    }
    let multi = rows.iter().filter(|r| r.tokens.len() > 1).count();
    if multi > usize::from(caps.multi_token_rows)
        || (multi > 0 && multi < rows.len() && !caps.mixed)
    {
        return fault(format!("{multi} of {} rows with several tokens", rows.len()));
    }
    for (at, row) in rows.iter().enumerate() {
        let end = u64::from(row.pos) + row.tokens.len() as u64;
        if row.tokens.is_empty() || row.tokens.len() > caps.max_chunk as usize {
            return fault(format!("a row of {} tokens", row.tokens.len()));
        }
        if end > u64::from(caps.context_tokens) {
            return fault(format!("positions up to {end} of {}", caps.context_tokens));
        }
        if row.slot.index >= caps.slots {
            return fault(format!("slot {} of {}", row.slot.index, caps.slots));
        }
        if let Some(token) = row.tokens.iter().find(|t| **t >= caps.vocab_size) {
            return fault(format!("token {token} of {}", caps.vocab_size));
        }
        if row.want == Want::All && !caps.all_logits {
            return fault("all logits from a model that gives the last ones".to_owned());
        }
        if rows[..at].iter().any(|other| other.slot.index == row.slot.index) {
            return fault(format!("slot {} twice", row.slot.index));
        }
    }
    Ok(())
}
