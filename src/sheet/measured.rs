//! What only a run can tell, as it is remembered.

use serde::{Deserialize, Serialize};

/// What one stage of the start left behind, and what it needed meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// More resident afterwards than before, in bytes.
    pub held_bytes: u64,
    /// The most that was resident during it, beyond what was before, in bytes.
    pub peak_bytes: u64,
}

impl Phase {
    /// What is needed only while it lasts.
    pub const fn passing_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.held_bytes)
    }
}

/// The stages of one start, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Resident before anything was loaded.
    pub process_bytes: u64,
    /// The engine's library was loaded.
    pub library: Phase,
    /// Tokenizer, templates and grammars were made.
    pub text: Phase,
    /// The longest prompt was tokenized.
    pub prompt: Phase,
    /// The engine loaded the weights.
    pub load: Phase,
    /// The largest step, without the KV pages that it touched.
    pub step: Phase,
    /// Positions of a slot when it was measured.
    pub context_tokens: u32,
}

impl Measured {
    /// What is resident once the model is loaded, before any step.
    pub const fn loaded_bytes(&self) -> u64 {
        self.process_bytes + self.library.held_bytes + self.text.held_bytes + self.load.held_bytes
    }

    /// The most that was resident at once until then.
    pub fn loading_bytes(&self) -> u64 {
        let before_text = self.process_bytes + self.library.held_bytes;
        let before_load = before_text + self.text.held_bytes;
        let text = before_text + self.text.peak_bytes;
        text.max(before_load + self.load.peak_bytes)
    }
}
