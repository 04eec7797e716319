//! From an ONNX graph to [`ModelGraph`]: ports by name, shapes and types as the graph states them.
//!
//! What the configuration files say is held against the graph; a contradiction is an error.

use super::error::BundleError;
use super::graph::{GraphSource, KvPorts, ModelGraph, Port, PortType};
use super::kv_ports;
use super::onnx::{GraphProto, ValueInfoProto, data_type};
use std::collections::{BTreeSet, HashSet};

/// The most layers we look for: the largest public models have about 130.
const MAX_LAYERS: usize = 1024;

const KV_SUPPORTED: &str = "a decoder with one cache input per layer for keys and one for values \
    (past_key_values.N.key, past_key_values.N.value, each [batch, heads, positions, head size], \
    float32, float16 or int8), as onnxruntime-genai's model builder and optimum export it";

const CODES_SUPPORTED: &str = "a cache of float32, float16, or int8 with scales of each tensor or channel \
    among the weights, which GroupQueryAttention reads (slmd-model export --kv int8, quantise-kv)";

/// A figure of a configuration file, to be held against the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What the file says.
    pub value: u64,
    /// The file.
    pub file: String,
    /// The field, dotted.
    pub field: &'static str,
}

/// The names of the ports; `%d` stands for the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortNames {
    /// Token ids.
    pub input_ids: String,
    /// Attention mask.
    pub attention_mask: String,
    /// Position ids.
    pub position_ids: String,
    /// Keys in.
    pub past_key: String,
    /// Values in.
    pub past_value: String,
    /// Keys out.
    pub present_key: String,
    /// Values out.
    pub present_value: String,
    /// Logits.
    pub logits: String,
}

impl Default for PortNames {
    fn default() -> Self {
        Self {
            input_ids: "input_ids".into(),
            attention_mask: "attention_mask".into(),
            position_ids: "position_ids".into(),
            past_key: "past_key_values.%d.key".into(),
            past_value: "past_key_values.%d.value".into(),
            present_key: "present.%d.key".into(),
            present_value: "present.%d.value".into(),
            logits: "logits".into(),
        }
    }
}

/// What the configuration files say of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// The names of the ports.
    pub names: PortNames,
    /// Layers with a cache.
    pub layers: Option<Fact>,
    /// Heads of the cache.
    pub kv_heads: Option<Fact>,
    /// Elements of one head.
    pub head_dim: Option<Fact>,
    /// Entries of a row of logits.
    pub vocab_size: Option<Fact>,
    /// Positions that the model was made for.
    pub context_length: Option<Fact>,
}

/// Reads the ports of `graph`, found in `source`.
///
/// # Errors
/// [`BundleError::Unsupported`], [`BundleError::Field`].
pub fn discover(
    source: GraphSource,
    file: &str,
    graph: &GraphProto,
    expected: &Expected,
) -> Result<ModelGraph, BundleError> {
    let ports = Ports::new(file, graph);
    let names = &expected.names;

    ports.refuse_other_layouts(names)?;
    let layers = ports.layers(names, expected.layers.as_ref())?;
    ports.refuse_unknown_inputs(names, &layers)?;
    let cache = ports.cache(&layers, expected)?;
    if cache.dtype == PortType::I8
        && let Some(name) = kv_ports::without_scales(graph, &layers)
    {
        let problem = format!("the int8 cache input {name:?} without scales among the weights");
        return Err(ports.unsupported(problem, CODES_SUPPORTED));
    }
    if cache.dtype == PortType::U8 {
        let problem = "a cache of uint8 codes in a graph whose shapes are not fixed".to_owned();
        return Err(ports.unsupported(problem, CODES_SUPPORTED));
    }
    let logits = ports.logits(&names.logits, expected)?;
    Ok(ModelGraph {
        source,
        input_ids: ports.token_port(&names.input_ids)?.ok_or_else(|| ports.no_input_ids(names))?,
        attention_mask: ports.token_port(&names.attention_mask)?,
        position_ids: ports.token_port(&names.position_ids)?,
        kv_update: kv_ports::update(&graph.node, &layers),
        layers,
        kv_type: cache.dtype,
        kv_heads: cache.heads,
        head_dim: cache.head_dim,
        logits: logits.port,
        last_logits_only: logits.last_only,
        vocab_size: logits.vocab_size,
        context_length: context_length(file, expected)?,
        fixed: None,
    })
}

/// The inputs (weights left out) and outputs of a graph.
pub(super) struct Ports<'a> {
    pub(super) file: &'a str,
    inputs: Vec<&'a ValueInfoProto>,
    outputs: Vec<&'a ValueInfoProto>,
}

pub(super) struct Cache {
    pub(super) dtype: PortType,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
}

pub(super) struct Logits {
    pub(super) port: Port,
    pub(super) last_only: bool,
    pub(super) vocab_size: usize,
}

impl<'a> Ports<'a> {
    pub(super) fn new(file: &'a str, graph: &'a GraphProto) -> Self {
        let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let is_port = |v: &&ValueInfoProto| !weights.contains(v.name.as_str());
        let inputs = graph.input.iter().filter(is_port).collect();
        Self { file, inputs, outputs: graph.output.iter().collect() }
    }

    pub(super) fn input(&self, name: &str) -> Option<&ValueInfoProto> {
        self.inputs.iter().copied().find(|v| v.name == name)
    }

    pub(super) fn output(&self, name: &str) -> Option<&ValueInfoProto> {
        self.outputs.iter().copied().find(|v| v.name == name)
    }

    fn unsupported(&self, problem: String, supported: &str) -> BundleError {
        BundleError::Unsupported { file: self.file.into(), problem, supported: supported.into() }
    }

    fn no_input_ids(&self, names: &PortNames) -> BundleError {
        let there: Vec<&str> = self.inputs.iter().take(8).map(|v| v.name.as_str()).collect();
        let problem = format!("no input {:?} (inputs: {})", names.input_ids, there.join(", "));
        self.unsupported(problem, "decoders that take token ids")
    }

    /// `past_0`, `past_key_values.0.decoder.key` and the like, told apart from a plain absence.
    pub(super) fn refuse_other_layouts(&self, names: &PortNames) -> Result<(), BundleError> {
        if self.input(&at(&names.past_key, 0)).is_some() {
            return Ok(());
        }
        let Some(past) = self.inputs.iter().find(|v| v.name.starts_with("past")) else {
            return match self.input(&names.input_ids) {
                None => Err(self.no_input_ids(names)),
                Some(_) => {
                    Err(self.unsupported("a decoder without a KV cache".into(), KV_SUPPORTED))
                }
            };
        };
        let shape = past.shape_text();
        let stacked = past.fixed(0) == Some(2);
        let kind =
            if stacked { "keys and values stacked in one tensor, the older layout; " } else { "" };
        let problem = format!(
            "the cache input {:?} {shape} ({kind}no {:?})",
            past.name,
            at(&names.past_key, 0)
        );
        Err(self.unsupported(problem, KV_SUPPORTED))
    }

    pub(super) fn layers(
        &self,
        names: &PortNames,
        expected: Option<&Fact>,
    ) -> Result<Vec<KvPorts>, BundleError> {
        let count =
            (0..MAX_LAYERS).take_while(|&n| self.input(&at(&names.past_key, n)).is_some()).count();
        if let Some(fact) = expected
            && fact.value != count as u64
        {
            let found = format!("{} ({} has {count})", fact.value, self.file);
            return Err(BundleError::field(&fact.file, fact.field, count.to_string(), found));
        }
        (0..count)
            .map(|n| {
                Ok(KvPorts {
                    past_key: self.named(&self.inputs, "input", &names.past_key, n)?,
                    past_value: self.named(&self.inputs, "input", &names.past_value, n)?,
                    present_key: self.named(&self.outputs, "output", &names.present_key, n)?,
                    present_value: self.named(&self.outputs, "output", &names.present_value, n)?,
                })
            })
            .collect()
    }

    fn named(
        &self,
        among: &[&ValueInfoProto],
        kind: &str,
        pattern: &str,
        layer: usize,
    ) -> Result<String, BundleError> {
        let name = at(pattern, layer);
        match among.iter().any(|v| v.name == name) {
            true => Ok(name),
            false => {
                Err(BundleError::field(self.file, kind, format!("{name:?}"), "none of that name"))
            }
        }
    }

    pub(super) fn refuse_unknown_inputs(
        &self,
        names: &PortNames,
        layers: &[KvPorts],
    ) -> Result<(), BundleError> {
        let mut known: BTreeSet<&str> =
            [&names.input_ids, &names.attention_mask, &names.position_ids]
                .map(String::as_str)
                .into();
        known.extend(layers.iter().flat_map(|l| [l.past_key.as_str(), l.past_value.as_str()]));
        match self.inputs.iter().find(|v| !known.contains(v.name.as_str())) {
            None => Ok(()),
            Some(v) if v.name.starts_with("past") && v.name.ends_with("_scale") => {
                let problem = format!("the input {:?}, scales of each token of the cache", v.name);
                Err(self.unsupported(problem, CODES_SUPPORTED))
            }
            Some(v) => Err(self.unsupported(
                format!("the input {:?} {}", v.name, v.shape_text()),
                "inputs for token ids, attention mask, position ids, and keys and values of each layer",
            )),
        }
    }

    /// An optional `[batch, tokens]` input of integers.
    fn token_port(&self, name: &str) -> Result<Option<Port>, BundleError> {
        let Some(value) = self.input(name) else { return Ok(None) };
        let dtype = match value.elem_type() {
            data_type::INT64 => PortType::I64,
            data_type::INT32 => PortType::I32,
            other => {
                let found = data_type::name(other);
                return Err(BundleError::field(
                    self.file,
                    format!("input {name}"),
                    "int64 or int32",
                    found,
                ));
            }
        };
        match value.rank() {
            Some(2) | None => Ok(Some(Port { name: name.to_owned(), dtype })),
            Some(_) => {
                let field = format!("input {name}");
                Err(BundleError::field(
                    self.file,
                    field,
                    "the shape [batch, tokens]",
                    value.shape_text(),
                ))
            }
        }
    }

    pub(super) fn cache(
        &self,
        layers: &[KvPorts],
        expected: &Expected,
    ) -> Result<Cache, BundleError> {
        let mut first: Option<Cache> = None;
        for layer in layers {
            for name in [&layer.past_key, &layer.past_value] {
                let one = self.cache_port(name, expected)?;
                let same = first.as_ref().is_none_or(|f| {
                    (f.dtype, f.heads, f.head_dim) == (one.dtype, one.heads, one.head_dim)
                });
                if !same {
                    let problem = format!("the cache input {name:?} is unlike those before it");
                    return Err(self.unsupported(problem, "one shape and type for all layers"));
                }
                first = Some(one);
            }
        }
        first.ok_or_else(|| self.unsupported("a decoder without a KV cache".into(), KV_SUPPORTED))
    }

    fn cache_port(&self, name: &str, expected: &Expected) -> Result<Cache, BundleError> {
        let field = format!("input {name}");
        let value = self
            .input(name)
            .ok_or_else(|| BundleError::field(self.file, "input", name, "none of that name"))?;
        let dtype = match value.elem_type() {
            data_type::FLOAT => PortType::F32,
            data_type::FLOAT16 => PortType::F16,
            data_type::INT8 => PortType::I8,
            data_type::UINT8 => PortType::U8,
            other => {
                let problem =
                    format!("the cache input {name:?} of type {}", data_type::name(other));
                return Err(self.unsupported(problem, CODES_SUPPORTED));
            }
        };
        if let Some(other) = value.rank().filter(|&r| r != 4) {
            let found = format!("{} axes, {}", other, value.shape_text());
            return Err(BundleError::field(
                self.file,
                field,
                "the shape [batch, heads, positions, head size]",
                found,
            ));
        }
        Ok(Cache {
            dtype,
            heads: self.extent(value, 1, expected.kv_heads.as_ref(), "the number of heads")?,
            head_dim: self.extent(value, 3, expected.head_dim.as_ref(), "the head size")?,
        })
    }

    /// A fixed extent of the graph, or the configuration's where the graph leaves it open.
    fn extent(
        &self,
        value: &ValueInfoProto,
        axis: usize,
        fact: Option<&Fact>,
        what: &str,
    ) -> Result<usize, BundleError> {
        match (value.fixed(axis), fact) {
            (Some(n), Some(fact)) if n != fact.value => {
                let found = format!("{} ({} has {n} in {:?})", fact.value, self.file, value.name);
                Err(BundleError::field(&fact.file, fact.field, n.to_string(), found))
            }
            (Some(n), _) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
            (None, Some(fact)) if (1..=1 << 24).contains(&fact.value) => Ok(fact.value as usize),
            (None, _) => Err(BundleError::field(
                self.file,
                value.name.clone(),
                format!("{what} in the graph or in its configuration file"),
                value.shape_text(),
            )),
        }
    }

    pub(super) fn logits(&self, name: &str, expected: &Expected) -> Result<Logits, BundleError> {
        let value = self.output(name).ok_or_else(|| {
            let there: Vec<&str> = self.outputs.iter().take(4).map(|v| v.name.as_str()).collect();
            let problem = format!("no output {name:?} (outputs: {} ...)", there.join(", "));
            self.unsupported(problem, "decoders that give logits")
        })?;
        let field = format!("output {name}");
        let dtype = match value.elem_type() {
            data_type::FLOAT => PortType::F32,
            data_type::FLOAT16 => PortType::F16,
            other => {
                let found = data_type::name(other);
                return Err(BundleError::field(self.file, field, "float32 or float16", found));
            }
        };
        if value.rank().is_some_and(|r| r != 3) {
            let found = value.shape_text();
            return Err(BundleError::field(self.file, field, "[batch, tokens, vocabulary]", found));
        }
        Ok(Logits {
            port: Port { name: name.to_owned(), dtype },
            last_only: value.fixed(1) == Some(1),
            vocab_size: self.extent(
                value,
                2,
                expected.vocab_size.as_ref(),
                "the vocabulary size",
            )?,
        })
    }
}

pub(super) fn context_length(file: &str, expected: &Expected) -> Result<usize, BundleError> {
    match &expected.context_length {
        Some(fact) if (1..=1 << 30).contains(&fact.value) => Ok(fact.value as usize),
        Some(fact) => Err(BundleError::field(
            &fact.file,
            fact.field,
            "a positive number of tokens",
            fact.value,
        )),
        None => Err(BundleError::field(
            file,
            "context length",
            "context_length in genai_config.json or max_position_embeddings in config.json",
            "neither",
        )),
    }
}

/// The name of layer `n` by a pattern with `%d`.
fn at(pattern: &str, n: usize) -> String {
    pattern.replacen("%d", &n.to_string(), 1)
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
