//! What each line costs.

use super::demands::{Demands, MqttDemands};
use super::measured::Measured;
use super::{How, Item, Line, Shape, Sheet};
use crate::bundle::{Bundle, GraphSource, KvUpdate, ModelGraph};
use crate::core::plan::{EngineKind, KvType, MAX_ROWS};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A request beside its prompt: its grammar's parser, sampler, text, channel.
const REQUEST_BYTES: u64 = 128 * KIB;
/// What is kept to tell how likely an answer is: of its tokens, as `wire::limits` bounds it, or of the
/// labels of a choice, as `sample::choices` does.
const LIKELIHOOD_BYTES: u64 = 72 * KIB;
/// Compiled grammars, as `sample::grammar` bounds them.
const GRAMMARS_BYTES: u64 = 14 * MIB;
/// A connection beside its message: what is read at once, and what it has not read of its answers.
const CONNECTION_BYTES: u64 = 96 * KIB;
/// MQTT beside its packets: buffers, TLS, the journal's thread.
const MQTT_BYTES: u64 = 2 * MIB;
/// What is remembered of a prompt that was answered.
const ENTRY_BYTES: u64 = 512;
/// Percent of everything, and bytes besides, for what differs from run to run.
const RESERVE_PERCENT: u64 = 2;
const RESERVE_BYTES: u64 = MIB;

/// Rules of thumb for what was not measured yet, from the figures in `docs/memory.md`.
const PROCESS_BYTES: u64 = 10 * MIB;
const LIBRARY_BYTES: u64 = 20 * MIB;
const TEXT_BYTES: u64 = 2 * MIB;
const TEXT_FACTOR: u64 = 10;
const STEP_BYTES: u64 = 4 * MIB;

/// What the sheet is about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The model.
    pub bundle: &'a Bundle,
    /// The engine; never [`EngineKind::Auto`].
    pub engine: EngineKind,
    /// How tract is to store keys and values.
    pub kv: KvType,
    /// The most tokens of one step.
    pub max_chunk: u32,
    /// What clients may take.
    pub demands: &'a Demands,
    /// What was measured of this model, engine and machine.
    pub measured: Option<Measured>,
}

/// Bytes of the keys and values of one position, as the engine holds them.
fn position_bytes(graph: &ModelGraph, engine: EngineKind, kv: KvType) -> u64 {
    let row = match (engine, graph.kv_update) {
        (EngineKind::Ort, _) => graph.kv_type.size() * graph.head_dim,
        (_, KvUpdate::InPlace) => kv.row_bytes(graph.head_dim),
        // tract does not run graphs of fixed shapes: the price of what it would hold.
        (_, KvUpdate::Append | KvUpdate::Host) => size_of::<f32>() * graph.head_dim,
    };
    (2 * graph.layers.len() * graph.kv_heads * row) as u64
}

/// Bytes of the keys and values of all slots at full length, as the engine holds them.
pub fn kv_bytes(graph: &ModelGraph, engine: EngineKind, kv: KvType, shape: Shape) -> u64 {
    let slots = u64::from(shape.sessions);
    let slots = match (graph.kv_update, engine) {
        (KvUpdate::InPlace, _) => slots,
        // Of fixed shapes: each slot has the graph's context, however little of it is used.
        (KvUpdate::Host, _) => {
            return slots * graph.context_length as u64 * position_bytes(graph, engine, kv);
        }
        // The graph writes into a second set of slots.
        (KvUpdate::Append, EngineKind::Ort) => 2 * slots,
        // The new keys and values lie beside the old ones while a step runs.
        (KvUpdate::Append, _) => slots + 1,
    };
    slots * u64::from(shape.context_tokens) * position_bytes(graph, engine, kv)
}

/// Inputs and outputs of a graph of fixed shapes: ids and positions, mask, logits, new keys and values.
fn fixed_buffers_bytes(graph: &ModelGraph, tokens: u64) -> u64 {
    let mask = graph.attention_mask.as_ref().map_or(0, |port| port.dtype.size()) as u64;
    let new = tokens * graph.kv_bytes_per_token() as u64;
    let total = graph.context_length as u64 + tokens;
    8 * tokens + tokens * total * mask + 4 * graph.vocab_size as u64 + new
}

impl Subject<'_> {
    /// Bytes of the keys and values of one position.
    pub fn position_bytes(&self) -> u64 {
        position_bytes(&self.bundle.graph, self.engine, self.kv)
    }

    /// The sheet of `shape`.
    pub fn sheet(&self, shape: Shape) -> Sheet {
        let mut lines = match &self.measured {
            Some(measured) => self.measured_lines(measured, shape),
            None => self.estimated_lines(shape),
        };
        lines.extend(self.demanded_lines(shape));
        let kv = kv_bytes(&self.bundle.graph, self.engine, self.kv, shape);
        let sum: u64 = lines.iter().map(|line| line.bytes).sum::<u64>() + kv;
        let loading = self.loading_bytes(&lines).saturating_sub(sum);
        lines.push(Line {
            item: Item::Loading,
            bytes: loading,
            how: self.how(),
            of: "beyond all that is there later".into(),
        });
        lines.push(Line {
            item: Item::Reserve,
            bytes: (sum + loading) * RESERVE_PERCENT / 100 + RESERVE_BYTES,
            how: How::Computed,
            of: format!("{RESERVE_PERCENT} % of the rest and 1 MiB"),
        });
        lines.push(Line {
            item: Item::Kv,
            bytes: kv,
            how: How::Computed,
            of: format!("{} sessions of {} tokens", shape.sessions, shape.context_tokens),
        });
        lines.sort_by_key(|line| line.item);
        Sheet { shape, lines }
    }

    const fn how(&self) -> How {
        if self.measured.is_some() { How::Measured } else { How::Estimated }
    }

    fn measured_lines(&self, measured: &Measured, shape: Shape) -> Vec<Line> {
        let line = |item, bytes, of: &str| Line { item, bytes, how: How::Measured, of: of.into() };
        // What a step needs grows with the context: another one than was measured is in proportion.
        let (there, here) =
            (self.step_bytes(measured.context_tokens), self.step_bytes(shape.context_tokens));
        let same = measured.context_tokens == shape.context_tokens;
        let step = match same {
            true => measured.step.peak_bytes,
            false => {
                (u128::from(measured.step.peak_bytes) * u128::from(here) / u128::from(there.max(1)))
                    as u64
            }
        };
        let text = measured.text.held_bytes + measured.prompt.peak_bytes;
        vec![
            line(Item::Process, measured.process_bytes, "code, threads, allocator"),
            line(Item::Library, measured.library.held_bytes, self.engine.name()),
            line(Item::Text, text, "with the longest prompt in it"),
            line(Item::Weights, measured.load.held_bytes, "as the engine holds them"),
            Line {
                how: if same { How::Measured } else { How::Estimated },
                ..line(Item::Step, step, &self.step_words(shape))
            },
        ]
    }

    fn estimated_lines(&self, shape: Shape) -> Vec<Line> {
        let line = |item, bytes, of: &str| Line { item, bytes, how: How::Estimated, of: of.into() };
        let ort = self.engine == EngineKind::Ort;
        let library = if ort { LIBRARY_BYTES } else { 0 };
        vec![
            line(Item::Process, PROCESS_BYTES, "code, threads, allocator"),
            line(Item::Library, library, self.engine.name()),
            line(Item::Text, self.text_bytes(), "by the tokenizer's file"),
            line(Item::Weights, self.weights_bytes(), "by the model's files"),
            line(Item::Step, self.step_bytes(shape.context_tokens), &self.step_words(shape)),
        ]
    }

    fn step_words(&self, shape: Shape) -> String {
        let chunk = self.max_chunk.min(shape.context_tokens);
        format!("{chunk} tokens at the end of {}", shape.context_tokens)
    }

    fn text_bytes(&self) -> u64 {
        let json = self.bundle.text.tokenizer_json.len() as u64;
        TEXT_BYTES + TEXT_FACTOR * json
    }

    /// Bytes of the graph's file and of those beside it.
    fn graph_bytes(&self) -> u64 {
        let text = self.bundle.text.tokenizer_json.len() as u64;
        self.bundle.total_bytes.saturating_sub(text)
    }

    fn weights_bytes(&self) -> u64 {
        // Each of two graphs prepares its own weights.
        let graphs = if self.bundle.graph.fixed.is_some() { 2 } else { 1 };
        graphs * self.graph_bytes() * 14 / 10
    }

    /// What a step at the end of the context needs: attention scores, hidden states, logits.
    fn step_bytes(&self, context_tokens: u32) -> u64 {
        let graph = &self.bundle.graph;
        let chunk = u64::from(self.max_chunk.min(context_tokens));
        let context = u64::from(context_tokens);
        let width = (graph.kv_heads * graph.head_dim) as u64;
        let heads = 3 * graph.kv_heads as u64;
        let scores = heads * chunk * context * 4;
        let hidden = chunk * width * 3 * 4 * 8;
        let logits = if graph.last_logits_only { 1 } else { chunk } * graph.vocab_size as u64 * 4;
        STEP_BYTES + scores + hidden + logits
    }

    /// What the most that clients may ask for takes.
    fn demanded_lines(&self, shape: Shape) -> Vec<Line> {
        let demands = self.demands;
        let line = |item, bytes, of: String| Line { item, bytes, how: How::Computed, of };
        let seats = demands.queue as u64 + u64::from(shape.sessions);
        // Its tokens twice, as the job's and on their way to it, and how likely each is; a bit and a
        // logit for each entry of the vocabulary; what is said of its tokens.
        let request = REQUEST_BYTES
            + demands.prompt_bytes as u64
            + 12 * u64::from(shape.context_tokens)
            + 5 * self.bundle.graph.vocab_size as u64
            + LIKELIHOOD_BYTES;
        let client = CONNECTION_BYTES + demands.message_bytes as u64;
        let mut lines = vec![
            line(Item::Buffers, self.buffers_bytes(shape), "kept between steps".into()),
            line(Item::Requests, seats * request, format!("{seats} of {} KiB", request / KIB)),
            line(Item::Grammars, GRAMMARS_BYTES, "at most".into()),
            line(
                Item::Clients,
                demands.clients as u64 * client,
                format!("{} of {} KiB", demands.clients, client / KIB),
            ),
        ];
        if demands.second_model_bytes > 0 {
            let of = "with its sessions".to_owned();
            lines.push(line(Item::SecondModel, demands.second_model_bytes, of));
        }
        if let Some(MqttDemands { packet_bytes, entries }) = demands.mqtt {
            let bytes = MQTT_BYTES + 2 * packet_bytes as u64 + entries as u64 * ENTRY_BYTES;
            lines.push(line(Item::Mqtt, bytes, format!("{entries} entries")));
        }
        lines
    }

    /// Inputs and logits that ONNX Runtime is given; tract makes its own in each step.
    fn buffers_bytes(&self, shape: Shape) -> u64 {
        if self.engine != EngineKind::Ort {
            return 0;
        }
        let graph = &self.bundle.graph;
        if let Some(fixed) = &graph.fixed {
            let bytes = |tokens| fixed_buffers_bytes(graph, tokens);
            return bytes(1) + bytes(fixed.chunk as u64);
        }
        let rows = u64::from(shape.sessions).min(MAX_ROWS as u64);
        let tokens = rows.max(u64::from(self.max_chunk.min(shape.context_tokens)));
        let logits = if graph.last_logits_only { rows } else { tokens };
        let widened = if graph.logits.dtype.size() == 2 { 4 } else { 0 };
        logits * graph.vocab_size as u64 * (graph.logits.dtype.size() as u64 + widened)
            + 8 * (2 * tokens + (rows + 1) * u64::from(shape.context_tokens))
    }

    /// The most that is there at once while the model is loaded.
    fn loading_bytes(&self, lines: &[Line]) -> u64 {
        let of = |item| lines.iter().filter(|l| l.item == item).map(|l| l.bytes).sum::<u64>();
        match &self.measured {
            Some(measured) => measured.loading_bytes(),
            None => {
                let file =
                    if matches!(self.bundle.graph.source, GraphSource::File(_)) { 1 } else { 0 };
                [Item::Process, Item::Library, Item::Text, Item::Weights]
                    .map(of)
                    .iter()
                    .sum::<u64>()
                    + file * self.graph_bytes()
            }
        }
    }
}
