//! The most that a model ever needs at once, done once so that it can be measured.

use crate::bundle::{KvUpdate, ModelGraph};
use crate::core::plan::{ModelId, Row, Slot, StepPlan, Want};
use crate::engine::{Engine, StepError};
use crate::runtime::Model;

/// Bytes of a page of memory; larger ones only make the figure too large.
const PAGE_BYTES: u64 = 4096;

/// Tokenizes a prompt of `bytes` bytes.
pub fn tokenize(model: &Model, bytes: usize) {
    let words = "The pump at the end of line 7 runs at 81.5 degrees. ";
    let prompt: String = words.chars().cycle().take(bytes).collect();
    if let Err(error) = model.tokenizer.encode(&prompt, true) {
        tracing::debug!(%error, "the longest prompt is not text for this model");
    }
}

/// Runs a whole chunk at the end of slot 0, whose positions take `position` bytes each. Gives the
/// bytes of the KV pages that this has touched, at least.
///
/// # Errors
/// The engine's.
pub fn largest_step(
    engine: &mut dyn Engine,
    graph: &ModelGraph,
    position: u64,
) -> Result<u64, StepError> {
    let caps = engine.caps().clone();
    let slot = Slot { model: ModelId(0), index: 0, generation: 0 };
    let chunk = caps.max_chunk.min(caps.context_tokens).max(1);
    let tokens: Vec<u32> = (0..chunk).map(|i| i % caps.vocab_size).collect();
    let last = caps.context_tokens - chunk;
    let mut step = |pos: u32, count: u32| {
        let row = Row { slot, pos, tokens: &tokens[..count as usize], want: Want::Last };
        engine.step(&StepPlan { rows: &[row] })
    };
    let appends = graph.kv_update == KvUpdate::Append;
    if appends {
        // The keys and values before it have to be there.
        for pos in (0..last).step_by(chunk as usize) {
            step(pos, chunk.min(last - pos))?;
        }
    }
    step(last, chunk)?;
    engine.release(slot);
    let tensors = 2 * (graph.layers.len() * graph.kv_heads) as u64;
    Ok(match appends {
        true => 2 * u64::from(caps.context_tokens) * position,
        false => u64::from(chunk) * position + tensors * PAGE_BYTES,
    })
}
