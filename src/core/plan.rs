//! Plain data shared by the scheduler and the engines: what one step is, and what an engine can do.

/// The most rows one step can hold, over all engines.
pub const MAX_ROWS: usize = 8;

/// Which engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// ONNX Runtime if its library is found, else tract.
    #[default]
    Auto,
    /// ONNX Runtime.
    Ort,
    /// tract.
    Tract,
}

impl EngineKind {
    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Ort, Self::Tract].into_iter().find(|kind| kind.name() == name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }
}

/// How the keys and values of the cache are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// What `docs/engines.md` says is best for the engine and the graph.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit codes with a scale for each position and head.
    Int8,
}

impl KvType {
    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::F32, Self::F16, Self::Int8].into_iter().find(|kv| kv.name() == name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The type that tract's slots have: `auto` is f16 (`docs/engines.md` has the rule and the
    /// figures).
    pub const fn in_slots(self) -> Self {
        match self {
            Self::Auto => Self::F16,
            Self::F32 | Self::F16 | Self::Int8 => self,
        }
    }

    /// Bytes that tract stores of one key or value of `dim` elements, its scale included.
    pub const fn row_bytes(self, dim: usize) -> usize {
        match self.in_slots() {
            Self::Int8 => dim + size_of::<f32>(),
            Self::F16 => 2 * dim,
            Self::F32 | Self::Auto => 4 * dim,
        }
    }
}

/// Which of the loaded models (main, escalation, encoder).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(pub u8);

/// One KV-cache slot of one model: room for `context_tokens` positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The model it belongs to.
    pub model: ModelId,
    /// Its place in the engine's pool, `0..slots`.
    pub index: u16,
    /// Goes up each time the slot changes hands.
    pub generation: u32,
}

/// Which logits of a row are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: the row only fills the KV cache.
    None,
    /// The logits after the last token.
    Last,
    /// The logits after every token; only where [`Caps::all_logits`] holds.
    All,
}

/// Consecutive tokens of one session.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Where the session's keys and values live.
    pub slot: Slot,
    /// How many tokens the slot holds already. Lower than before means: forget what is beyond.
    pub pos: u32,
    /// The tokens to feed, at least one.
    pub tokens: &'a [u32],
    /// Which logits to return.
    pub want: Want,
}

/// One indivisible piece of work for an engine.
#[derive(Debug, Clone, Copy)]
pub struct StepPlan<'a> {
    /// The rows, between one and [`Caps::max_rows`].
    pub rows: &'a [Row<'a>],
}

/// The (rows, tokens) shapes that an engine can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shapes {
    /// Any number of tokens.
    Any,
    /// Only these, as compiled for an NPU. The engine pads a shorter row, so that it costs as much as
    /// the next larger shape.
    Static(Vec<(u8, u32)>),
}

/// How an engine can go back to an earlier position of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// To any length: a later row with a lower `pos` is enough.
    AnyLen,
    /// Only to marks set before (recurrent state, sliding windows).
    MarksOnly,
}

/// How finely a running step can be stopped from another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopGrain {
    /// Within milliseconds.
    Operator,
    /// Not before the step ends.
    Step,
}

/// What an engine can do; the scheduler asks for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// The most rows in one step (at most [`MAX_ROWS`]).
    pub max_rows: u8,
    /// How many of them may hold more than one token.
    pub multi_token_rows: u8,
    /// Whether single-token and multi-token rows may share a step.
    pub mixed: bool,
    /// Which shapes run.
    pub shapes: Shapes,
    /// How to go back.
    pub rollback: Rollback,
    /// Whether [`Want::All`] is possible (not with a pruned head).
    pub all_logits: bool,
    /// How a step is stopped.
    pub stop: StopGrain,
    /// Tokens that fit into one slot.
    pub context_tokens: u32,
    /// The most tokens of one row in one step.
    pub max_chunk: u32,
    /// Slots in the pool.
    pub slots: u16,
    /// Entries of one row of logits.
    pub vocab_size: u32,
}
