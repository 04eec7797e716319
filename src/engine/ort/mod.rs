//! The ONNX Runtime engine: the library is loaded at run time, all buffers are ours and bound once.
//!
//! Session options as measured in `docs/benchmarks.md`: no arena and no memory pattern (memory that
//! is held between steps is memory a board does not have), spinning only within a run.

mod affinity;
mod cache;
mod ffi;
pub mod library;
mod pair;
pub mod plugin;
mod provider;
mod spans;
mod stop;

use super::{Engine, EngineInfo, EngineOptions, Footprint, LoadError, StepError, Stop, check_plan};
use crate::bundle::{GraphSource, KvUpdate, ModelGraph, PortType};
use crate::core::cpus::CpuList;
use crate::core::plan::{
    Caps, KvType, MAX_ROWS, Rollback, Row, Shapes, Slot, StepPlan, StopGrain, Want,
};
use crate::core::provider::CPU;
use crate::kernels::half;
use cache::Cache;
use ffi::{Block, Tensor};
use ort::session::builder::{BuilderResult, GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
pub use pair::PairEngine;
use spans::Span;
use std::ffi::CString;
use std::sync::Arc;
use stop::Stopper;

/// Loads `graph` into the engine for its kind of shapes.
///
/// # Errors
/// [`LoadError`]: no library, or what ONNX Runtime says of the graph.
pub fn load(graph: &ModelGraph, options: &EngineOptions) -> Result<Box<dyn Engine>, LoadError> {
    Ok(match &graph.fixed {
        Some(fixed) => Box::new(PairEngine::load(graph, fixed, options)?),
        None => Box::new(OrtEngine::load(graph, options)?),
    })
}

/// A decoder graph of any shape in ONNX Runtime.
pub struct OrtEngine {
    session: Session,
    stopper: Arc<Stopper>,
    caps: Caps,
    affinity: CpuList,
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
    /// Tokens a row, and the first row of logits, for which ids, positions and logits are bound.
    shape: Option<(usize, usize)>,
    binding: IoBinding,
}

/// A row of a run: one of the plan, or a dummy.
struct Fed<'a> {
    pos: u32,
    tokens: &'a [u32],
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
        check_kv(graph, options.kv)?;
        let library = library::load()?;
        let fault = |problem: String| LoadError::Engine { file: graph.file_name(), problem };
        let before = super::process_memory().anonymous_bytes;
        let session = open(library, &graph.source, options).map_err(fault)?;
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
                provider: options.provider.as_ref().map_or(CPU, |p| &p.name).to_owned(),
            },
            ports: Ports::new(graph).map_err(fault)?,
            session,
            caps,
            affinity: options.affinity.clone(),
            footprint,
            cache,
            buffers,
            bindings: Vec::new(),
            rows: heapless::Vec::new(),
        })
    }

    fn run(&mut self, plan: &StepPlan<'_>) -> Result<(), StepError> {
        let slots: heapless::Vec<usize, MAX_ROWS> = plan.rows.iter().map(slot_of).collect();
        let most = usize::from(self.caps.max_rows);
        let spans = spans::spans(&slots, most, |slot| self.cache.takes_more(slot));
        for row in plan.rows {
            self.cache.truncate(slot_of(row), row.pos as usize);
        }
        self.locate_logits(plan, &spans);
        let stopper = Arc::clone(&self.stopper);
        let (result, stopped) = stopper.watch(|| {
            let mut first = 0;
            spans.iter().try_for_each(|span| {
                self.run_span(plan, span, first)?;
                first += span.rows.len();
                Ok(())
            })
        });
        match result {
            Err(_) if stopped => return Err(StepError::Stopped),
            Err(message) => return Err(StepError::Engine(message)),
            Ok(()) => {}
        }
        for row in plan.rows {
            self.cache.grew(slot_of(row), row.pos as usize + row.tokens.len());
        }
        self.widen_logits();
        Ok(())
    }

    /// One run over neighbouring slots; its logits go to the rows from `first` on.
    fn run_span(&mut self, plan: &StepPlan<'_>, span: &Span, first: usize) -> Result<(), String> {
        let Span { base, rows } = span;
        let fed = rows.iter().enumerate().map(|(at, row)| match row {
            Some(row) => Fed { pos: plan.rows[*row].pos, tokens: plan.rows[*row].tokens },
            // Written beyond what the slot holds: its next row overwrites it.
            None => Fed { pos: self.cache.len(base + at) as u32, tokens: &[0] },
        });
        let fed: heapless::Vec<Fed<'_>, MAX_ROWS> = fed.collect();
        let tokens = fed[0].tokens.len();
        self.fill(&fed);
        let at = self.bound(*base, fed.len())?;
        let bound = &mut self.bindings[at];
        if bound.shape != Some((tokens, first)) {
            bound.shape = None;
            let shape = [fed.len(), tokens];
            bind_shape(&bound.binding, &self.ports, &self.buffers, &self.caps, shape, first)?;
            bound.shape = Some((tokens, first));
        }
        if self.cache.update() == KvUpdate::Append {
            self.cache.bind_append(&bound.binding, *base, tokens)?;
        }
        if let Some((name, element)) = &self.ports.mask {
            let total = fed.iter().map(|row| row.pos as usize).max().unwrap_or(0) + tokens;
            let block = if fed.len() == 1 { &self.buffers.ones } else { &self.buffers.mask };
            let mask = Tensor::over(block, 0, &[fed.len() as i64, total as i64], *element)?;
            ffi::bind_input(&bound.binding, name, &mask)?;
        }
        ffi::run(&mut self.session, &self.stopper.options, &bound.binding)
    }

    /// Writes ids, positions and the mask of several rows.
    fn fill(&mut self, fed: &[Fed<'_>]) {
        let rows = fed.iter();
        let ids = rows.clone().flat_map(|r| r.tokens.iter().copied());
        write(&mut self.buffers.ids, self.ports.ids.1, ids);
        if let Some((_, element)) = self.ports.positions {
            let positions = rows.clone().flat_map(|r| (r.pos..).take(r.tokens.len()));
            write(&mut self.buffers.positions, element, positions);
        }
        if let Some((_, element)) = self.ports.mask
            && fed.len() > 1
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
        self.bindings.push(Bound { base, rows, shape: None, binding });
        Ok(self.bindings.len() - 1)
    }

    /// Where each row's logits will be, in the order of the plan.
    fn locate_logits(&mut self, plan: &StepPlan<'_>, spans: &[Span]) {
        let vocab = self.caps.vocab_size as usize;
        let fed = || spans.iter().flat_map(|span| span.rows.iter());
        self.rows.clear();
        for (index, row) in plan.rows.iter().enumerate() {
            let place = fed().position(|row| *row == Some(index)).expect("every row is in a span");
            let given = if self.ports.last_logits_only { 1 } else { row.tokens.len() };
            let (skip, len) = match row.want {
                Want::None => (0, 0),
                Want::Last => (given - 1, 1),
                Want::All => (0, given),
            };
            let range = Range { start: (place * given + skip) * vocab, len: len * vocab };
            self.rows.push(range).expect("a plan has at most MAX_ROWS rows");
        }
    }

    /// Turns the logits asked for into f32, where the graph gives f16.
    fn widen_logits(&mut self) {
        if self.ports.logits.1 != PortType::F16 {
            return;
        }
        let halves = self.buffers.logits.elements::<u16>();
        for range in &self.rows {
            let range = range.start..range.start + range.len;
            if self.buffers.widened.len() < range.end {
                self.buffers.widened.resize(range.end, 0.0);
            }
            let wide = self.buffers.widened[range.clone()].iter_mut();
            wide.zip(&halves[range]).for_each(|(w, h)| *w = half::to_f32(*h));
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
        self.run(plan)
    }

    fn logits(&mut self, row: usize) -> &mut [f32] {
        let Range { start, len } = self.rows[row];
        match self.ports.logits.1 {
            PortType::F16 => &mut self.buffers.widened[start..start + len],
            _ => &mut self.buffers.logits.elements_mut::<f32>()[start..start + len],
        }
    }

    fn affinity(&self) -> CpuList {
        self.affinity.clone()
    }

    fn release(&mut self, slot: Slot) {
        self.cache.truncate(usize::from(slot.index), 0);
    }

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

/// Binds ids, positions and logits for `shape` (rows, tokens); the logits lie from row `first` on.
fn bind_shape(
    binding: &IoBinding,
    ports: &Ports,
    buffers: &Buffers,
    caps: &Caps,
    [rows, tokens]: [usize; 2],
    first: usize,
) -> Result<(), String> {
    let shape = [rows as i64, tokens as i64];
    let (name, element) = &ports.ids;
    ffi::bind_input(binding, name, &Tensor::over(&buffers.ids, 0, &shape, *element)?)?;
    if let Some((name, element)) = &ports.positions {
        ffi::bind_input(binding, name, &Tensor::over(&buffers.positions, 0, &shape, *element)?)?;
    }
    let given = if ports.last_logits_only { 1 } else { tokens };
    let (name, element) = &ports.logits;
    let offset = first * given * caps.vocab_size as usize * element.size();
    let shape = [rows as i64, given as i64, i64::from(caps.vocab_size)];
    ffi::bind_output(binding, name, &Tensor::over(&buffers.logits, offset, &shape, *element)?)
}

/// The slot of a row.
fn slot_of(row: &Row<'_>) -> usize {
    usize::from(row.slot.index)
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

/// The graph decides how its caches are stored.
fn check_kv(graph: &ModelGraph, wish: KvType) -> Result<(), LoadError> {
    let have = graph.kv();
    if wish == KvType::Auto || wish == have {
        return Ok(());
    }
    let way_out = match wish {
        KvType::Int8 => ", or give the model such caches: slmd-model quantise-kv BUNDLE OUT",
        _ => "",
    };
    let problem = format!(
        "its caches are {}, while budget.kv is {:?}: ONNX Runtime takes what the graph has; leave \
         it at \"auto\", take engine = \"tract\"{way_out}",
        have.name(),
        wish.name()
    );
    Err(LoadError::Unsupported { file: graph.file_name(), problem })
}

/// A session of the graph as `options` want it; every session of this engine is made here.
fn open(
    library: &library::Library,
    graph: &GraphSource,
    options: &EngineOptions,
) -> Result<Session, String> {
    let words = |e: ort::Error| e.to_string();
    let builder = Session::builder(&library.environment).map_err(words)?;
    let mut builder = configure(builder, options).map_err(|e| words(e.into()))?;
    if let Some(provider) = options.provider.as_ref().filter(|p| !p.is_cpu() || p.whole) {
        builder = provider::attach(builder, library, provider)?;
    }
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build();
    builder = builder.with_execution_providers([cpu]).map_err(|e| words(e.into()))?;
    if let Some(prefix) = &options.profile {
        builder = builder.with_profiling(prefix).map_err(|e| words(e.into()))?;
    }
    let session = match graph {
        GraphSource::File(path) => builder.commit_from_file(path),
        GraphSource::Embedded(bytes) => builder.commit_from_memory(bytes),
    };
    session.map_err(words)
}

/// The names of the providers inside the library, as they are written.
///
/// # Errors
/// [`LoadError::Library`].
pub fn built_in_providers() -> Result<Vec<String>, LoadError> {
    library::load()?;
    ffi::built_in().map_err(LoadError::Library)
}

/// Why the library cannot run anything on its own provider of this name, if so: it has none.
pub fn lacks(name: &str) -> Option<String> {
    match library::load() {
        Ok(library) => provider::lacks(library, name),
        Err(error) => Some(error.to_string()),
    }
}

#[expect(clippy::result_large_err, reason = "the error of the `ort` crate gives the builder back")]
fn configure(builder: SessionBuilder, options: &EngineOptions) -> BuilderResult {
    let several = options.threads > 1;
    let builder = match affinity::thread_affinities(options.threads, &options.affinity) {
        Some(cpus) => builder.with_config_entry("session.intra_op_thread_affinities", cpus)?,
        None => builder,
    };
    builder
        // Not `Level3`, which libraries before 1.23 do not know.
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(several)?
        .with_config_entry("session.force_spinning_stop", "1")?
        .with_memory_pattern(false)
}
