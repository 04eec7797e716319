//! The ONNX Runtime engine: the library is loaded at run time, all buffers are ours and bound once.
//!
//! Session options as measured in `docs/benchmarks.md`: no arena and no memory pattern (memory that
//! is held between steps is memory a board does not have), spinning only within a run.

mod cache;
mod ffi;
pub mod library;
mod stop;

use super::{Engine, EngineInfo, EngineOptions, Footprint, LoadError, StepError, Stop, check_plan};
use crate::bundle::{GraphSource, KvUpdate, ModelGraph, PortType};
use crate::core::plan::{Caps, MAX_ROWS, Rollback, Shapes, Slot, StepPlan, StopGrain, Want};
use crate::kernels::half;
use cache::Cache;
use ffi::{Block, Tensor};
use ort::session::builder::{BuilderResult, GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use std::ffi::CString;
use std::sync::Arc;
use stop::Stopper;

/// A decoder graph in ONNX Runtime.
pub struct OrtEngine {
    session: Session,
    stopper: Arc<Stopper>,
    caps: Caps,
    info: EngineInfo,
    footprint: Footprint,
    ports: Ports,
    cache: Cache,
    buffers: Buffers,
    bindings: Vec<Bound>,
    rows: heapless::Vec<Range, MAX_ROWS>,
}

/// Where a row's logits are, in entries.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: usize,
    len: usize,
}

/// A binding that holds the cache of neighbouring slots.
struct Bound {
    base: usize,
    rows: usize,
    /// Tokens a row for which ids, positions and logits are bound.
    tokens: usize,
    binding: IoBinding,
}

struct Ports {
    ids: (CString, PortType),
    mask: Option<(CString, PortType)>,
    positions: Option<(CString, PortType)>,
    logits: (CString, PortType),
    last_logits_only: bool,
}

struct Buffers {
    ids: Block,
    positions: Block,
    /// All ones: the mask of a single row of any length.
    ones: Block,
    /// The mask of several rows of different lengths.
    mask: Block,
    logits: Block,
    /// The logits as f32, where the graph gives f16.
    widened: Vec<f32>,
}

impl OrtEngine {
    /// Loads `graph` and takes all memory that it will use.
    ///
    /// # Errors
    /// [`LoadError`]: no library, or what ONNX Runtime says of the graph.
    pub fn load(graph: &ModelGraph, options: &EngineOptions) -> Result<Self, LoadError> {
        let library = library::load()?;
        let fault = |problem: String| LoadError::Engine { file: graph.file_name(), problem };
        let before = super::process_memory().anonymous_bytes;
        let session = open(library, graph, options).map_err(|e| fault(e.to_string()))?;
        let weights_bytes = super::process_memory().anonymous_bytes.saturating_sub(before);
        let (slots, context) = (usize::from(options.slots), options.context_tokens as usize);
        let cache = Cache::new(graph, slots, context).map_err(fault)?;
        let caps = caps(graph, options);
        let buffers = Buffers::new(graph, &caps);
        let footprint = Footprint {
            weights_bytes,
            kv_bytes: cache.bytes() as u64,
            buffers_bytes: buffers.bytes() as u64,
        };
        Ok(Self {
            stopper: Arc::new(Stopper::new().map_err(|e| fault(e.to_string()))?),
            info: EngineInfo {
                name: "ort",
                version: library.version.clone(),
                library: Some(library.path.clone()),
            },
            ports: Ports::new(graph).map_err(fault)?,
            session,
            caps,
            footprint,
            cache,
            buffers,
            bindings: Vec::new(),
            rows: heapless::Vec::new(),
        })
    }

    fn run(&mut self, plan: &StepPlan<'_>) -> Result<(), String> {
        let (base, rows) = (usize::from(plan.rows[0].slot.index), plan.rows.len());
        let tokens = plan.rows[0].tokens.len();
        self.fill(plan);
        let at = self.bound(base, rows)?;
        let bound = &mut self.bindings[at];
        if bound.tokens != tokens {
            bound.tokens = 0;
            bind_shapes(
                &bound.binding,
                &self.ports,
                &self.buffers,
                self.caps.vocab_size,
                rows,
                tokens,
            )?;
            bound.tokens = tokens;
        }
        let past = plan.rows[0].pos as usize;
        if self.cache.update() == KvUpdate::Append {
            self.cache.bind_append(&bound.binding, base, past, tokens)?;
        }
        if let Some((name, element)) = &self.ports.mask {
            let total = plan.rows.iter().map(|r| r.pos as usize).max().unwrap_or(0) + tokens;
            let block = if rows == 1 { &self.buffers.ones } else { &self.buffers.mask };
            let mask = Tensor::over(block, 0, &[rows as i64, total as i64], *element)?;
            ffi::bind_input(&bound.binding, name, &mask)?;
        }
        let (session, binding, options) =
            (&mut self.session, &bound.binding, &self.stopper.options);
        let (result, stopped) = self.stopper.watch(|| ffi::run(session, options, binding));
        match result {
            Err(_) if stopped => Err(String::new()),
            Err(message) => Err(message),
            Ok(()) => {
                if self.cache.update() == KvUpdate::Append {
                    self.cache.appended(base, past + tokens);
                }
                Ok(())
            }
        }
    }

    /// Writes ids, positions and the mask of several rows.
    fn fill(&mut self, plan: &StepPlan<'_>) {
        let rows = plan.rows.iter();
        let ids = rows.clone().flat_map(|r| r.tokens.iter().copied());
        write(&mut self.buffers.ids, self.ports.ids.1, ids);
        if let Some((_, element)) = self.ports.positions {
            let positions = rows.clone().flat_map(|r| (r.pos..).take(r.tokens.len()));
            write(&mut self.buffers.positions, element, positions);
        }
        if let Some((_, element)) = self.ports.mask
            && plan.rows.len() > 1
        {
            let total = rows.clone().map(|r| r.pos + 1).max().unwrap_or(1);
            let mask = rows.flat_map(|r| (0..total).map(move |p| u32::from(p <= r.pos)));
            write(&mut self.buffers.mask, element, mask);
        }
    }

    /// The binding for these slots, made on first use.
    fn bound(&mut self, base: usize, rows: usize) -> Result<usize, String> {
        if let Some(at) = self.bindings.iter().position(|b| b.base == base && b.rows == rows) {
            return Ok(at);
        }
        let binding = self.session.create_binding().map_err(|e| e.to_string())?;
        if self.cache.update() == KvUpdate::InPlace {
            self.cache.bind_in_place(&binding, base, rows)?;
        }
        self.bindings.push(Bound { base, rows, tokens: 0, binding });
        Ok(self.bindings.len() - 1)
    }

    fn locate_logits(&mut self, plan: &StepPlan<'_>) {
        let vocab = self.caps.vocab_size as usize;
        self.rows.clear();
        for (index, row) in plan.rows.iter().enumerate() {
            let given = if self.ports.last_logits_only { 1 } else { row.tokens.len() };
            let (skip, len) = match row.want {
                Want::None => (0, 0),
                Want::Last => (given - 1, 1),
                Want::All => (0, given),
            };
            let range = Range { start: (index * given + skip) * vocab, len: len * vocab };
            self.rows.push(range).expect("a plan has at most MAX_ROWS rows");
            if self.ports.logits.1 == PortType::F16 && range.len > 0 {
                let halves = self.buffers.logits.elements::<u16>();
                let end = range.start + range.len;
                if self.buffers.widened.len() < end {
                    self.buffers.widened.resize(end, 0.0);
                }
                let wide = self.buffers.widened[range.start..end].iter_mut();
                wide.zip(&halves[range.start..end]).for_each(|(w, h)| *w = half::to_f32(*h));
            }
        }
    }
}

impl Engine for OrtEngine {
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
        self.run(plan).map_err(|message| match message.as_str() {
            "" => StepError::Stopped,
            _ => StepError::Engine(message),
        })?;
        self.locate_logits(plan);
        Ok(())
    }

    fn logits(&mut self, row: usize) -> &mut [f32] {
        let Range { start, len } = self.rows[row];
        match self.ports.logits.1 {
            PortType::F16 => &mut self.buffers.widened[start..start + len],
            _ => &mut self.buffers.logits.elements_mut::<f32>()[start..start + len],
        }
    }

    fn release(&mut self, _slot: Slot) {}

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        Some(Arc::clone(&self.stopper) as Arc<dyn Stop>)
    }
}

impl Ports {
    fn new(graph: &ModelGraph) -> Result<Self, String> {
        let port = |p: &crate::bundle::Port| ffi::name(&p.name).map(|name| (name, p.dtype));
        Ok(Self {
            ids: port(&graph.input_ids)?,
            mask: graph.attention_mask.as_ref().map(port).transpose()?,
            positions: graph.position_ids.as_ref().map(port).transpose()?,
            logits: port(&graph.logits)?,
            last_logits_only: graph.last_logits_only,
        })
    }
}

impl Buffers {
    fn new(graph: &ModelGraph, caps: &Caps) -> Self {
        let (rows, chunk) = (usize::from(caps.max_rows), caps.max_chunk as usize);
        let (context, tokens) = (caps.context_tokens as usize, rows.max(chunk));
        let logits_rows = if graph.last_logits_only { rows } else { tokens };
        let mut ones = Block::zeroed(context * 8);
        if let Some(mask) = &graph.attention_mask {
            write(&mut ones, mask.dtype, std::iter::repeat_n(1, context));
        }
        Self {
            ids: Block::zeroed(tokens * 8),
            positions: Block::zeroed(tokens * 8),
            ones,
            mask: Block::zeroed(rows * context * 8),
            logits: Block::zeroed(logits_rows * graph.vocab_size * graph.logits.dtype.size()),
            widened: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        let blocks = [&self.ids, &self.positions, &self.ones, &self.mask, &self.logits];
        blocks.map(Block::bytes).iter().sum::<usize>() + self.widened.len() * 4
    }
}

/// Binds ids, positions and logits for `rows` rows of `tokens` tokens.
fn bind_shapes(
    binding: &IoBinding,
    ports: &Ports,
    buffers: &Buffers,
    vocab: u32,
    rows: usize,
    tokens: usize,
) -> Result<(), String> {
    let shape = [rows as i64, tokens as i64];
    let (name, element) = &ports.ids;
    ffi::bind_input(binding, name, &Tensor::over(&buffers.ids, 0, &shape, *element)?)?;
    if let Some((name, element)) = &ports.positions {
        ffi::bind_input(binding, name, &Tensor::over(&buffers.positions, 0, &shape, *element)?)?;
    }
    let given = if ports.last_logits_only { 1 } else { tokens as i64 };
    let (name, element) = &ports.logits;
    let shape = [rows as i64, given, i64::from(vocab)];
    ffi::bind_output(binding, name, &Tensor::over(&buffers.logits, 0, &shape, *element)?)
}

/// Writes integers as the port's element type.
fn write(block: &mut Block, element: PortType, values: impl Iterator<Item = u32>) {
    match element {
        PortType::I32 => {
            block.elements_mut::<i32>().iter_mut().zip(values).for_each(|(d, v)| *d = v as i32);
        }
        _ => {
            block.elements_mut::<i64>().iter_mut().zip(values).for_each(|(d, v)| *d = i64::from(v));
        }
    }
}

fn caps(graph: &ModelGraph, options: &EngineOptions) -> Caps {
    let in_place = graph.kv_update == KvUpdate::InPlace;
    Caps {
        max_rows: if in_place { options.slots.min(MAX_ROWS as u16) as u8 } else { 1 },
        multi_token_rows: 1,
        mixed: false,
        contiguous: true,
        shapes: Shapes::Any,
        rollback: Rollback::AnyLen,
        all_logits: !graph.last_logits_only,
        stop: StopGrain::Operator,
        context_tokens: options.context_tokens,
        max_chunk: options.max_chunk.min(options.context_tokens),
        slots: options.slots,
        vocab_size: graph.vocab_size as u32,
    }
}

fn open(
    library: &library::Library,
    graph: &ModelGraph,
    options: &EngineOptions,
) -> ort::Result<Session> {
    let mut builder = configure(Session::builder(&library.environment)?, options)
        .map_err(ort::Error::<()>::from)?;
    match &graph.source {
        GraphSource::File(path) => builder.commit_from_file(path),
        GraphSource::Embedded(bytes) => builder.commit_from_memory(bytes),
    }
}

#[expect(clippy::result_large_err, reason = "the error of the `ort` crate gives the builder back")]
fn configure(builder: SessionBuilder, options: &EngineOptions) -> BuilderResult {
    let several = options.threads > 1;
    builder
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(several)?
        .with_config_entry("session.force_spinning_stop", "1")?
        .with_memory_pattern(false)?
        .with_execution_providers([ort::ep::CPU::default().with_arena_allocator(false).build()])
}
