//! The engine itself: a session of tract, its slots, and the logits of the last step.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_core::plan;
use tract_onnx::tract_hir::internal::*;

use super::build::{self, Session};
use super::inputs::InputKind;
use super::lower::{self, Lowered};
use super::ops::Runtime;
use super::stopper::{StopHandle, Stopper};
use crate::bundle::{GraphSource, KvUpdate, ModelGraph};
use crate::core::cpus::CpuList;
use crate::core::plan::{
    Caps, KvType, MAX_ROWS, Rollback, Row, Shapes, Slot, StepPlan, StopGrain, Want,
};
use crate::core::provider::CPU;
use crate::engine::{
    Engine, EngineInfo, EngineOptions, Footprint, LoadError, StepError, Stop, check_plan,
};
use crate::kernels::pool::Pool;
use crate::kernels::{Isa, map_file, trim_heap};

/// A decoder that tract runs with our operators.
pub struct TractEngine {
    session: Session,
    runtime: Arc<Runtime>,
    inputs: Vec<InputKind>,
    kv_shape: [usize; 2],
    /// Keys and values of each slot where the graph appends to them; empty for arenas.
    appended: Vec<Vec<TValue>>,
    selects_rows: bool,
    logits: Tensor,
    /// Where each row's logits lie in `logits`, in rows.
    spans: Vec<Range<usize>>,
    caps: Caps,
    affinity: CpuList,
    info: EngineInfo,
    footprint: Footprint,
    stopper: Arc<Stopper>,
}

impl TractEngine {
    /// Loads a decoder: packs its weights, reserves the KV slots, starts the threads.
    ///
    /// # Errors
    /// [`LoadError::Unsupported`] with everything in the graph that cannot be run,
    /// [`LoadError::Engine`] for an unreadable file and in tract's own words.
    pub fn load(graph: &ModelGraph, options: &EngineOptions) -> Result<Self, LoadError> {
        let file = graph.file_name();
        let engine_error = |problem: String| LoadError::Engine { file: file.clone(), problem };
        if graph.fixed.is_some() {
            let problem = "two graphs of fixed shapes, which ONNX Runtime runs (engine = \"ort\"); tract \
                           takes the model exported without --static-shapes";
            return Err(LoadError::Unsupported { file, problem: problem.to_owned() });
        }
        if graph.kv_update == KvUpdate::Append && !matches!(options.kv, KvType::Auto | KvType::F32)
        {
            let problem = format!(
                "its caches are appended to and stay f32, while budget.kv is {:?}: leave it at \
                 \"auto\"",
                options.kv.name()
            );
            return Err(LoadError::Unsupported { file, problem });
        }
        let model = read_model(graph).map_err(engine_error)?;
        let stopper = Arc::new(Stopper::default());
        let halted = Arc::clone(&stopper);
        let halted = Box::new(move || halted.is_stopping());
        let pool = Pool::on_cpus(options.threads, options.affinity.as_slice(), halted)
            .map_err(|error| engine_error(format!("no thread: {error}")))?;
        let isa = Isa::detect();
        let runtime = Arc::new(Runtime { isa, pool, activations: Mutex::default() });
        let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let known = |op: &str| onnx.op_register.0.contains_key(op);
        let mut lowered = lower::lower(model, graph, options, &runtime, &known)
            .map_err(|problem| LoadError::Unsupported { file: file.clone(), problem })?;
        let session = build::build(&onnx, &mut lowered)
            .map_err(|error| engine_error(format!("{error:#}")))?;
        trim_heap();
        Ok(Self::new(graph, options, session, runtime, stopper, &lowered))
    }

    fn new(
        graph: &ModelGraph,
        options: &EngineOptions,
        session: Session,
        runtime: Arc<Runtime>,
        stopper: Arc<Stopper>,
        lowered: &Lowered,
    ) -> Self {
        let appends = graph.kv_update == KvUpdate::Append;
        let several = !appends && lowered.selects_rows;
        let context = options.context_tokens as usize;
        let chunk = options.max_chunk as usize;
        let caps = Caps {
            max_rows: if several { MAX_ROWS as u8 } else { 1 },
            multi_token_rows: 1,
            mixed: several,
            shapes: Shapes::Any,
            rollback: Rollback::AnyLen,
            all_logits: lowered.selects_rows || !graph.last_logits_only,
            stop: StopGrain::Operator,
            context_tokens: options.context_tokens,
            max_chunk: options.max_chunk,
            slots: options.slots.max(1),
            vocab_size: graph.vocab_size as u32,
        };
        let kv_bytes = if appends {
            // One copy more while a step runs: the new keys and values beside the old ones.
            (usize::from(caps.slots) + 1)
                * context
                * 8
                * graph.layers.len()
                * graph.kv_heads
                * graph.head_dim
        } else {
            lowered.kv_bytes
        };
        let weights = lowered.weights_bytes + build::constant_bytes(&session);
        let logits = 4 * graph.vocab_size * usize::from(caps.max_rows);
        let values = build::value_bytes(&session, chunk + MAX_ROWS, context);
        let footprint = Footprint {
            weights_bytes: weights as u64,
            kv_bytes: kv_bytes as u64,
            buffers_bytes: (logits + values) as u64,
        };
        Self {
            session,
            inputs: lowered.inputs.clone(),
            kv_shape: [graph.kv_heads, graph.head_dim],
            appended: if appends { vec![Vec::new(); usize::from(caps.slots)] } else { Vec::new() },
            selects_rows: lowered.selects_rows,
            logits: Tensor::default(),
            spans: Vec::new(),
            caps,
            affinity: options.affinity.clone(),
            info: EngineInfo {
                name: "tract",
                version: format!("0.23.9, {} kernels", runtime.isa.name()),
                library: None,
                provider: CPU.to_owned(),
            },
            footprint,
            stopper,
            runtime,
        }
    }

    /// Refuses what [`Caps`] rules out, and what would read keys that are not there.
    fn check(&self, plan: &StepPlan<'_>) -> Result<(), StepError> {
        check_plan(&self.caps, plan)?;
        for row in plan.rows {
            let slot = usize::from(row.slot.index);
            if let Some(kv) = self.appended.get(slot) {
                let have = kv.first().map_or(0, |keys| keys.shape()[2]);
                if have < row.pos as usize {
                    let what = format!("slot {slot} has {have} positions, not {}", row.pos);
                    return Err(StepError::Plan(what));
                }
            }
        }
        Ok(())
    }

    /// Which tokens of the step give logits, and how many of them each row owns.
    fn wanted(rows: &[Row<'_>]) -> (Vec<i64>, Vec<Range<usize>>) {
        let (mut indices, mut spans, mut first) = (Vec::new(), Vec::new(), 0i64);
        for row in rows {
            let (start, end) = (indices.len(), first + row.tokens.len() as i64);
            match row.want {
                Want::None => {}
                Want::Last => indices.push(end - 1),
                Want::All => indices.extend(first..end),
            }
            spans.push(start..indices.len());
            first = end;
        }
        (indices, spans)
    }

    /// The graph's inputs for these rows, in order.
    fn feed(&self, rows: &[Row<'_>], wanted: &[i64]) -> TractResult<TVec<TValue>> {
        let each = |value: &dyn Fn(&Row<'_>, usize) -> i64| -> TractResult<TValue> {
            let values: Vec<i64> = rows
                .iter()
                .flat_map(|row| (0..row.tokens.len()).map(move |index| (row, index)))
                .map(|(row, index)| value(row, index))
                .collect();
            Ok(Tensor::from_shape(&[1, values.len()], &values)?.into_tvalue())
        };
        let mut inputs = tvec![];
        for (index, kind) in self.inputs.iter().copied().enumerate() {
            let value = match kind {
                InputKind::Ids => each(&|row, index| i64::from(row.tokens[index]))?,
                InputKind::Positions => each(&|row, index| i64::from(row.pos) + index as i64)?,
                InputKind::Slots => each(&|row, _| i64::from(row.slot.index))?,
                InputKind::Rows => Tensor::from_shape(&[wanted.len()], wanted)?.into_tvalue(),
                InputKind::Mask => {
                    let end = rows[0].pos as usize + rows[0].tokens.len();
                    Tensor::from_shape(&[1, end], &vec![1i64; end])?.into_tvalue()
                }
                InputKind::Past(which) => self.past(&rows[0], which)?,
            };
            let fact = self.session.model().input_fact(index)?;
            let value = if fact.datum_type == value.datum_type() {
                value
            } else {
                value.cast_to_dt(fact.datum_type)?.into_owned().into_tvalue()
            };
            inputs.push(value);
        }
        Ok(inputs)
    }

    /// Keys or values of a row's slot up to its position.
    fn past(&self, row: &Row<'_>, which: usize) -> TractResult<TValue> {
        let kv = &self.appended[usize::from(row.slot.index)];
        let (pos, [heads, dim]) = (row.pos as usize, self.kv_shape);
        match kv.get(which) {
            Some(value) if value.shape()[2] == pos => Ok(value.clone()),
            Some(value) if pos > 0 => Ok(value.slice(2, 0, pos)?.into_tvalue()),
            _ => Ok(Tensor::zero::<f32>(&[1, heads, 0, dim])?.into_tvalue()),
        }
    }

    fn run(&mut self, rows: &[Row<'_>]) -> TractResult<()> {
        let (wanted, spans) = Self::wanted(rows);
        let inputs = self.feed(rows, &wanted)?;
        let stopper = Arc::clone(&self.stopper);
        let result = self.session.run_plan_with_eval(inputs, |context, state, node, inputs| {
            ensure!(!stopper.is_stopping(), "stopped");
            plan::eval(context, state, node, inputs)
        });
        let mut outputs = match result {
            Ok(outputs) => outputs,
            Err(error) => {
                self.session.reset_turn()?;
                return Err(error);
            }
        };
        if !self.appended.is_empty() {
            self.appended[usize::from(rows[0].slot.index)] = outputs.drain(1..).collect();
        }
        self.logits = outputs.remove(0).into_tensor();
        self.spans = spans;
        if !self.selects_rows {
            self.keep_wanted(&wanted)?;
        }
        Ok(())
    }

    /// Cuts logits of every position, or of the last one, down to the wanted ones.
    fn keep_wanted(&mut self, wanted: &[i64]) -> TractResult<()> {
        let (all, vocab) = (self.logits.shape()[1], self.caps.vocab_size as usize);
        let logits = self.logits.cast_to::<f32>()?.into_owned();
        let from = logits.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut kept = Vec::with_capacity(wanted.len() * vocab);
        for index in wanted {
            let index = (*index as usize).min(all - 1);
            kept.extend_from_slice(&from[index * vocab..(index + 1) * vocab]);
        }
        self.logits = Tensor::from_shape(&[1, wanted.len(), vocab], &kept)?;
        Ok(())
    }
}

impl Engine for TractEngine {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn affinity(&self) -> CpuList {
        self.affinity.clone()
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn footprint(&self) -> Footprint {
        let activations =
            self.runtime.activations.lock().unwrap_or_else(PoisonError::into_inner).bytes();
        let buffers_bytes = self.footprint.buffers_bytes + activations as u64;
        Footprint { buffers_bytes, ..self.footprint }
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<(), StepError> {
        self.check(plan)?;
        self.spans.clear();
        self.stopper.begin();
        let result = self.run(plan.rows);
        let stopped = self.stopper.is_stopping();
        self.stopper.end();
        if stopped {
            // Even without an error: the last operator may have left out a part.
            self.spans.clear();
            return Err(StepError::Stopped);
        }
        result.map_err(|error| StepError::Engine(format!("{error:#}")))
    }

    fn logits(&mut self, row: usize) -> &mut [f32] {
        let vocab = self.caps.vocab_size as usize;
        let Some(span) = self.spans.get(row).cloned() else { return &mut [] };
        let all =
            self.logits.to_plain_array_view_mut::<f32>().ok().and_then(|all| all.into_slice());
        all.and_then(|all| all.get_mut(span.start * vocab..span.end * vocab)).unwrap_or(&mut [])
    }

    fn release(&mut self, slot: Slot) {
        if let Some(kv) = self.appended.get_mut(usize::from(slot.index)) {
            kv.clear();
        }
    }

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        Some(Arc::new(StopHandle(Arc::clone(&self.stopper))))
    }
}

fn read_model(graph: &ModelGraph) -> Result<ModelProto, String> {
    let decode = |bytes: &[u8]| ModelProto::decode(bytes).map_err(|error| error.to_string());
    match &graph.source {
        GraphSource::Embedded(bytes) => decode(bytes),
        GraphSource::File(path) => {
            let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
            decode(&map_file(&file).map_err(|error| error.to_string())?)
        }
    }
}
