//! Two graphs of fixed shapes as one engine: what NPUs run (`docs/npu.md`).
//!
//! One graph takes a whole chunk, the other a single token. Neither knows lengths: the cache is ours,
//! of full context length, a mask says what of it counts, and the new keys and values that a run gives
//! are copied into it. A short chunk is padded at its front, so that the last row is always the last
//! token. Knows bytes, not what they mean: caches may hold floats or codes.

use super::ffi::{self, Block, Plain, Tensor};
use super::library::{self, Library};
use super::stop::Stopper;
use super::{check_kv, open, slot_of};
use crate::bundle::{FixedShapes, GraphSource, KvPorts, ModelGraph, PortType};
use crate::core::plan::{Caps, Rollback, Row, Shapes, Slot, StepPlan, StopGrain, Want};
use crate::core::provider::CPU;
use crate::engine::{
    Engine, EngineInfo, EngineOptions, Footprint, LoadError, StepError, Stop, check_plan,
    process_memory,
};
use ort::session::{IoBinding, Session};
use std::ffi::CString;
use std::sync::Arc;

/// A pair of graphs in ONNX Runtime.
pub struct PairEngine {
    prefill: Graph,
    decode: Graph,
    stopper: Arc<Stopper>,
    caps: Caps,
    info: EngineInfo,
    footprint: Footprint,
    cache: Cache,
    /// Which graph ran last, and whether its logits were asked for.
    last: (bool, Want),
}

impl PairEngine {
    /// Loads both graphs and takes all memory that they will use.
    ///
    /// # Errors
    /// [`LoadError`]: no library, or what ONNX Runtime says of a graph.
    pub fn load(
        graph: &ModelGraph,
        fixed: &FixedShapes,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        check_kv(graph, options.kv)?;
        let library = library::load()?;
        let fault = |problem: String| LoadError::Engine { file: graph.file_name(), problem };
        let before = process_memory().anonymous_bytes;
        let make = |source: &GraphSource, tokens: usize| {
            // A profile is of one session: that of single tokens, where most of the time goes.
            let profile = options.profile.clone().filter(|_| tokens == 1);
            let options = EngineOptions { profile, ..options.clone() };
            Graph::load(library, graph, source, tokens, &options)
                .map_err(|problem| LoadError::Engine { file: source.file_name(), problem })
        };
        let (prefill, decode) = (make(&fixed.prefill, fixed.chunk)?, make(&graph.source, 1)?);
        let buffers_bytes = (prefill.bytes() + decode.bytes()) as u64;
        let cache = Cache::new(graph, usize::from(options.slots)).map_err(fault)?;
        let held = process_memory().anonymous_bytes.saturating_sub(before);
        Ok(Self {
            stopper: Arc::new(Stopper::new().map_err(|e| fault(e.to_string()))?),
            caps: caps(graph, fixed, options),
            info: EngineInfo {
                name: "ort",
                version: library.version.clone(),
                library: Some(library.path.clone()),
                provider: options.provider.as_ref().map_or(CPU, |p| &p.name).to_owned(),
            },
            footprint: Footprint {
                // Zeroed blocks hold no pages before they are written: all that is there is weights.
                weights_bytes: held,
                kv_bytes: cache.bytes() as u64,
                buffers_bytes,
            },
            prefill,
            decode,
            cache,
            last: (false, Want::None),
        })
    }

    fn run(&mut self, row: &Row<'_>) -> Result<(), StepError> {
        let (slot, pos) = (slot_of(row), row.pos as usize);
        let graph = if row.tokens.len() == 1 { &mut self.decode } else { &mut self.prefill };
        graph.fill(row.tokens, pos);
        graph.bind_past(&self.cache, slot).map_err(StepError::Engine)?;
        let stopper = Arc::clone(&self.stopper);
        let (result, stopped) =
            stopper.watch(|| ffi::run(&mut graph.session, &stopper.options, &graph.binding));
        match result {
            Err(_) if stopped => return Err(StepError::Stopped),
            Err(message) => return Err(StepError::Engine(message)),
            Ok(()) => {}
        }
        self.cache.put(slot, pos, &graph.present, graph.tokens, row.tokens.len());
        self.last = (row.tokens.len() == 1, row.want);
        Ok(())
    }
}

impl Engine for PairEngine {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn footprint(&self) -> Footprint {
        self.footprint
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<(), StepError> {
        check_plan(&self.caps, plan)?;
        self.run(&plan.rows[0])
    }

    fn logits(&mut self, _row: usize) -> &mut [f32] {
        let (single, want) = self.last;
        let graph = if single { &mut self.decode } else { &mut self.prefill };
        match want {
            Want::None => &mut [],
            _ => graph.logits.elements_mut(),
        }
    }

    fn release(&mut self, _slot: Slot) {
        // What is beyond a session's positions is masked: nothing has to go.
    }

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        Some(Arc::clone(&self.stopper) as Arc<dyn Stop>)
    }
}

fn caps(graph: &ModelGraph, fixed: &FixedShapes, options: &EngineOptions) -> Caps {
    let context_tokens = options.context_tokens.min(graph.context_length as u32);
    let chunk = fixed.chunk as u32;
    Caps {
        max_rows: 1,
        multi_token_rows: 1,
        mixed: false,
        shapes: Shapes::Static(vec![(1, chunk), (1, 1)]),
        rollback: Rollback::AnyLen,
        all_logits: false,
        // A provider that took the whole graph looks at the flag between graphs only.
        stop: StopGrain::Step,
        context_tokens,
        max_chunk: chunk.min(context_tokens),
        slots: options.slots,
        vocab_size: graph.vocab_size as u32,
    }
}

/// One graph with its buffers, all bound but the past, which is that of a slot.
struct Graph {
    session: Session,
    binding: IoBinding,
    tokens: usize,
    context: usize,
    ids: Block,
    positions: Block,
    mask: Block,
    mask_type: PortType,
    logits: Block,
    /// New keys and values, in the order of the cache's tensors.
    present: Vec<Block>,
    /// The slot whose past is bound.
    slot: Option<usize>,
}

impl Graph {
    fn load(
        library: &Library,
        graph: &ModelGraph,
        source: &GraphSource,
        tokens: usize,
        options: &EngineOptions,
    ) -> Result<Self, String> {
        let session = open(library, source, options)?;
        let binding = session.create_binding().map_err(|e| e.to_string())?;
        let (context, total) = (graph.context_length, graph.context_length + tokens);
        let mask_type = graph.attention_mask.as_ref().map_or(PortType::F32, |port| port.dtype);
        let new = Shape::new(graph, tokens);
        let made = Self {
            session,
            binding,
            tokens,
            context,
            ids: Block::zeroed(tokens * size_of::<i32>()),
            positions: Block::zeroed(tokens * size_of::<i32>()),
            mask: Block::zeroed(tokens * total * mask_type.size()),
            mask_type,
            logits: Block::zeroed(graph.vocab_size * size_of::<f32>()),
            present: (0..2 * graph.layers.len()).map(|_| Block::zeroed(new.bytes())).collect(),
            slot: None,
        };
        made.bind(graph, new)?;
        Ok(made)
    }

    fn bind(&self, graph: &ModelGraph, new: Shape) -> Result<(), String> {
        let rows = [1, self.tokens as i64];
        let total = (self.context + self.tokens) as i64;
        let input = |port: &crate::bundle::Port, block: &Block, shape: &[i64]| {
            let tensor = Tensor::over(block, 0, shape, port.dtype)?;
            ffi::bind_input(&self.binding, &ffi::name(&port.name)?, &tensor)
        };
        input(&graph.input_ids, &self.ids, &rows)?;
        if let Some(port) = &graph.position_ids {
            input(port, &self.positions, &rows)?;
        }
        if let Some(port) = &graph.attention_mask {
            input(port, &self.mask, &[1, 1, self.tokens as i64, total])?;
        }
        let shape = [1, 1, graph.vocab_size as i64];
        let logits = Tensor::over(&self.logits, 0, &shape, PortType::F32)?;
        ffi::bind_output(&self.binding, &ffi::name(&graph.logits.name)?, &logits)?;
        for (block, name) in self.present.iter().zip(names(&graph.layers, present)) {
            let tensor = Tensor::over(block, 0, &new.dims(), new.element)?;
            ffi::bind_output(&self.binding, &ffi::name(name)?, &tensor)?;
        }
        Ok(())
    }

    /// Bytes of what is kept for a step.
    fn bytes(&self) -> usize {
        let kept = [&self.ids, &self.positions, &self.mask, &self.logits];
        kept.into_iter().chain(&self.present).map(Block::bytes).sum()
    }

    fn bind_past(&mut self, cache: &Cache, slot: usize) -> Result<(), String> {
        if self.slot == Some(slot) {
            return Ok(());
        }
        self.slot = None;
        for (block, name) in cache.blocks.iter().zip(&cache.past) {
            let offset = slot * cache.shape.bytes();
            let tensor = Tensor::over(block, offset, &cache.shape.dims(), cache.shape.element)?;
            ffi::bind_input(&self.binding, name, &tensor)?;
        }
        self.slot = Some(slot);
        Ok(())
    }

    /// Writes the inputs of `tokens`, which follow `pos` positions.
    fn fill(&mut self, tokens: &[u32], pos: usize) {
        let pad = self.tokens - tokens.len();
        let ids = self.ids.elements_mut::<i32>();
        ids[..pad].fill(0);
        ids[pad..].iter_mut().zip(tokens).for_each(|(id, token)| *id = *token as i32);
        let positions = self.positions.elements_mut::<i32>();
        positions[..pad].fill(0);
        positions[pad..].iter_mut().zip(pos..).for_each(|(p, at)| *p = at as i32);
        let shape = MaskShape { context: self.context, tokens: self.tokens, pad, pos };
        match self.mask_type {
            PortType::U16 => shape.write(self.mask.elements_mut::<u16>(), u16::MAX),
            _ => shape.write(self.mask.elements_mut::<f32>(), 1.0),
        }
    }
}

/// What the rows of a run may look at.
struct MaskShape {
    context: usize,
    tokens: usize,
    /// Rows of padding, which come first.
    pad: usize,
    /// Positions of the past that count.
    pos: usize,
}

impl MaskShape {
    /// `one` where a row may look, zeros elsewhere: the past, and the new tokens up to itself. A row of
    /// padding looks at itself alone, so that it is finite; nothing looks at it.
    fn write<T: Plain + Default>(&self, mask: &mut [T], one: T) {
        mask.fill(T::default());
        for (row, mask) in mask.chunks_exact_mut(self.context + self.tokens).enumerate() {
            let (past, new) = mask.split_at_mut(self.context);
            if row >= self.pad {
                past[..self.pos].fill(one);
            }
            new[self.pad.min(row)..=row].fill(one);
        }
    }
}

/// The shape of keys or values: `[1, heads, positions, dim]`.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    positions: usize,
    dim: usize,
    element: PortType,
}

impl Shape {
    const fn new(graph: &ModelGraph, positions: usize) -> Self {
        let (heads, dim) = (graph.kv_heads, graph.head_dim);
        Self { heads, positions, dim, element: graph.kv_type }
    }

    const fn bytes(&self) -> usize {
        self.heads * self.positions * self.row_bytes()
    }

    const fn row_bytes(&self) -> usize {
        self.dim * self.element.size()
    }

    fn dims(&self) -> [i64; 4] {
        [1, self.heads, self.positions, self.dim].map(|n| n as i64)
    }
}

/// Keys and values of all slots, which no graph writes.
struct Cache {
    /// Of one slot.
    shape: Shape,
    past: Vec<CString>,
    /// One a tensor, each `[slots, heads, context, dim]`.
    blocks: Vec<Block>,
}

impl Cache {
    fn new(graph: &ModelGraph, slots: usize) -> Result<Self, String> {
        let shape = Shape::new(graph, graph.context_length);
        let past = names(&graph.layers, past).map(ffi::name).collect::<Result<Vec<_>, _>>()?;
        let blocks = past.iter().map(|_| Block::zeroed(slots * shape.bytes())).collect();
        Ok(Self { shape, past, blocks })
    }

    fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum()
    }

    /// Takes the last `count` of the `tokens` new positions that a run gave, as `pos` and on.
    fn put(&mut self, slot: usize, pos: usize, new: &[Block], tokens: usize, count: usize) {
        let (row, length) = (self.shape.row_bytes(), count * self.shape.row_bytes());
        for (cache, new) in self.blocks.iter_mut().zip(new) {
            let (cache, new) = (cache.elements_mut::<u8>(), new.elements::<u8>());
            for head in 0..self.shape.heads {
                let from = ((head + 1) * tokens - count) * row;
                let to = slot * self.shape.bytes() + (head * self.shape.positions + pos) * row;
                cache[to..to + length].copy_from_slice(&new[from..from + length]);
            }
        }
    }
}

/// Names of the cache's ports, layer by layer, keys first: the order of all lists here.
fn names<'a>(
    layers: &'a [KvPorts],
    side: fn(&'a KvPorts) -> [&'a String; 2],
) -> impl Iterator<Item = &'a str> {
    layers.iter().flat_map(side).map(String::as_str)
}

const fn past(layer: &KvPorts) -> [&String; 2] {
    [&layer.past_key, &layer.past_value]
}

const fn present(layer: &KvPorts) -> [&String; 2] {
    [&layer.present_key, &layer.present_value]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(context: usize, tokens: usize, pad: usize, pos: usize) -> Vec<String> {
        let mut mask = vec![9u16; tokens * (context + tokens)];
        MaskShape { context, tokens, pad, pos }.write(&mut mask, 1);
        let text = |row: &[u16]| row.iter().map(|m| if *m == 1 { '1' } else { '.' }).collect();
        mask.chunks(context + tokens).map(text).collect()
    }

    #[test]
    fn rows_see_the_past_and_what_comes_before_them() {
        assert_eq!(mask(4, 3, 0, 2), ["11..1..", "11..11.", "11..111"]);
        assert_eq!(mask(4, 1, 0, 4), ["11111"]);
        assert_eq!(mask(4, 1, 0, 0), ["....1"]);
    }

    #[test]
    fn padding_comes_first_and_is_seen_by_itself_alone() {
        assert_eq!(mask(4, 3, 1, 3), ["....1..", "111..1.", "111..11"]);
        assert_eq!(mask(2, 3, 2, 1), ["..1..", "...1.", "1...1"]);
    }
}
