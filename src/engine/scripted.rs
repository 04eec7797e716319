//! An engine without a model: replays answers at a given cost a step, for tests and simulation.

use super::{Engine, EngineInfo, EngineOptions, Footprint, StepError, Stop};
use crate::core::plan::{Caps, MAX_ROWS, Rollback, Shapes, Slot, StepPlan, StopGrain, Want};
use crate::core::provider::CPU;
use std::sync::Arc;
use std::time::Duration;

/// Says what comes after the tokens of a slot, or how the step fails.
pub type Script = Box<dyn FnMut(&[u32]) -> Result<u32, StepError> + Send>;

/// The engine.
pub struct ScriptedEngine {
    caps: Caps,
    info: EngineInfo,
    script: Script,
    step_cost: Duration,
    token_cost: Duration,
    slots: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
}

impl ScriptedEngine {
    /// An engine over `vocab_size` tokens that answers as `script` says.
    pub fn new(vocab_size: u32, options: &EngineOptions, script: Script) -> Self {
        let caps = Caps {
            max_rows: MAX_ROWS as u8,
            multi_token_rows: 1,
            mixed: false,
            shapes: Shapes::Any,
            rollback: Rollback::AnyLen,
            all_logits: false,
            stop: StopGrain::Step,
            context_tokens: options.context_tokens,
            max_chunk: options.max_chunk,
            slots: options.slots,
            vocab_size,
        };
        Self {
            caps,
            info: EngineInfo {
                name: "scripted",
                version: "1".to_owned(),
                library: None,
                provider: CPU.to_owned(),
            },
            script,
            step_cost: Duration::ZERO,
            token_cost: Duration::ZERO,
            slots: vec![Vec::new(); usize::from(options.slots)],
            logits: Vec::new(),
        }
    }

    /// The same with steps that really take this long, plus so much for each further token.
    #[must_use]
    pub fn with_cost(mut self, step: Duration, token: Duration) -> Self {
        (self.step_cost, self.token_cost) = (step, token);
        self
    }
}

impl Engine for ScriptedEngine {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn footprint(&self) -> Footprint {
        Footprint::default()
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<(), StepError> {
        super::check_plan(&self.caps, plan)?;
        self.logits.clear();
        let mut tokens = 0;
        for row in plan.rows {
            let slot = &mut self.slots[usize::from(row.slot.index)];
            if (row.pos as usize) > slot.len() {
                return Err(StepError::Plan(format!("slot holds {} of {}", slot.len(), row.pos)));
            }
            slot.truncate(row.pos as usize);
            slot.extend_from_slice(row.tokens);
            tokens += row.tokens.len() as u32;
            let mut logits = Vec::new();
            if row.want == Want::Last {
                logits.resize(self.caps.vocab_size as usize, 0.0);
                logits[(self.script)(slot)? as usize] = 10.0;
            }
            self.logits.push(logits);
        }
        std::thread::sleep(self.step_cost + self.token_cost * (tokens - 1));
        Ok(())
    }

    fn logits(&mut self, row: usize) -> &mut [f32] {
        &mut self.logits[row]
    }

    fn release(&mut self, slot: Slot) {
        self.slots[usize::from(slot.index)].clear();
    }

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        None
    }
}
