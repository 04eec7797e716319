//! Two graphs of fixed shapes as one model: ports by name, and every shape held against the manifest.
//!
//! The contract is in `docs/npu.md`. Nothing is left to the graphs: whoever runs them copies bytes by
//! these shapes.

use super::error::BundleError;
use super::graph::{FixedShapes, GraphSource, KvPorts, KvUpdate, ModelGraph, Port, PortType};
use super::manifest::FixedSpec;
use super::onnx::{GraphProto, ValueInfoProto, data_type};
use super::ports::{Cache, Expected, Ports, context_length};

const SUPPORTED: &str = "a pair as `slmd-model export --static-shapes` writes it";

const IDS: [(i32, PortType); 1] = [(data_type::INT32, PortType::I32)];
const FLOATS: [(i32, PortType); 1] = [(data_type::FLOAT, PortType::F32)];
const CODES: [(i32, PortType); 1] = [(data_type::UINT8, PortType::U8)];

/// One of the two graphs.
pub struct Member {
    /// Where it is.
    pub source: GraphSource,
    /// Its name for messages.
    pub file: String,
    /// What is in it.
    pub proto: GraphProto,
}

/// What both graphs must have in common.
#[derive(PartialEq)]
struct Interface {
    input_ids: Port,
    position_ids: Port,
    mask: Port,
    logits: Port,
    layers: Vec<KvPorts>,
    kv_type: PortType,
    kv_heads: usize,
    head_dim: usize,
    vocab_size: usize,
}

/// Reads the ports of the prefill and the decode graph.
///
/// # Errors
/// [`BundleError::Unsupported`], [`BundleError::Field`].
pub fn discover(
    [prefill, decode]: [Member; 2],
    spec: &FixedSpec,
    expected: &Expected,
    manifest: &str,
) -> Result<ModelGraph, BundleError> {
    let longest = context_length(manifest, expected)?;
    let context = spec.context as usize;
    if context > longest {
        let most = format!("at most {longest}, what the model was made for");
        return Err(BundleError::field(manifest, "static.context", most, spec.context));
    }
    let sizes = |tokens: u32| [u64::from(tokens), u64::from(spec.context)];
    let one = interface(&decode, sizes(1), expected)?;
    if interface(&prefill, sizes(spec.chunk), expected)? != one {
        return Err(BundleError::Unsupported {
            file: prefill.file,
            problem: format!("its ports differ from those of {}", decode.file),
            supported: SUPPORTED.into(),
        });
    }
    Ok(ModelGraph {
        source: decode.source,
        input_ids: one.input_ids,
        attention_mask: Some(one.mask),
        position_ids: Some(one.position_ids),
        layers: one.layers,
        kv_type: one.kv_type,
        kv_heads: one.kv_heads,
        head_dim: one.head_dim,
        kv_update: KvUpdate::Host,
        logits: one.logits,
        last_logits_only: true,
        vocab_size: one.vocab_size,
        context_length: context,
        fixed: Some(FixedShapes { prefill: prefill.source, chunk: spec.chunk as usize }),
    })
}

fn interface(
    member: &Member,
    [tokens, context]: [u64; 2],
    expected: &Expected,
) -> Result<Interface, BundleError> {
    let (ports, names) = (Ports::new(&member.file, &member.proto), &expected.names);
    ports.refuse_other_layouts(names)?;
    let layers = ports.layers(names, expected.layers.as_ref())?;
    ports.refuse_unknown_inputs(names, &layers)?;
    let cache = ports.cache(&layers, expected)?;
    let logits = ports.logits(&names.logits, expected)?;
    let fixed = Fixed { ports: &ports };
    fixed.caches(&layers, &cache, [tokens, context])?;
    let mask = [(data_type::FLOAT, PortType::F32), (data_type::UINT16, PortType::U16)];
    let total = context + tokens;
    Ok(Interface {
        input_ids: fixed.input(&names.input_ids, &[1, tokens], &IDS)?,
        position_ids: fixed.input(&names.position_ids, &[1, tokens], &IDS)?,
        mask: fixed.input(&names.attention_mask, &[1, 1, tokens, total], &mask)?,
        logits: fixed.output(&names.logits, &[1, 1, logits.vocab_size as u64], &FLOATS)?,
        layers,
        kv_type: cache.dtype,
        kv_heads: cache.heads,
        head_dim: cache.head_dim,
        vocab_size: logits.vocab_size,
    })
}

/// Ports with exactly one shape.
struct Fixed<'a> {
    ports: &'a Ports<'a>,
}

impl Fixed<'_> {
    /// Holds the past of `context` positions and the `tokens` new ones against each other.
    fn caches(
        &self,
        layers: &[KvPorts],
        cache: &Cache,
        [tokens, context]: [u64; 2],
    ) -> Result<(), BundleError> {
        let types: &[_] = match cache.dtype {
            PortType::F32 => &FLOATS,
            PortType::U8 => &CODES,
            other => {
                return Err(BundleError::Unsupported {
                    file: self.ports.file.into(),
                    problem: format!("a cache of {other:?} in a graph of fixed shapes"),
                    supported: "float32 or uint8".into(),
                });
            }
        };
        let (heads, dim) = (cache.heads as u64, cache.head_dim as u64);
        for layer in layers {
            for name in [&layer.past_key, &layer.past_value] {
                self.input(name, &[1, heads, context, dim], types)?;
            }
            for name in [&layer.present_key, &layer.present_value] {
                self.output(name, &[1, heads, tokens, dim], types)?;
            }
        }
        Ok(())
    }

    fn input(&self, name: &str, shape: &[u64], types: Types<'_>) -> Result<Port, BundleError> {
        self.port("input", name, self.ports.input(name), shape, types)
    }

    fn output(&self, name: &str, shape: &[u64], types: Types<'_>) -> Result<Port, BundleError> {
        self.port("output", name, self.ports.output(name), shape, types)
    }

    fn port(
        &self,
        kind: &str,
        name: &str,
        value: Option<&ValueInfoProto>,
        shape: &[u64],
        types: Types<'_>,
    ) -> Result<Port, BundleError> {
        let wrong = |expected: String, found: String| {
            BundleError::field(self.ports.file, format!("{kind} {name}"), expected, found)
        };
        let Some(value) = value else {
            return Err(wrong(format!("one of shape {shape:?}"), "none of that name".into()));
        };
        let same = value.rank() == Some(shape.len())
            && shape.iter().enumerate().all(|(axis, n)| value.fixed(axis) == Some(*n));
        if !same {
            return Err(wrong(format!("the shape {shape:?}"), value.shape_text()));
        }
        let found = types.iter().find(|(code, _)| *code == value.elem_type());
        let names = || types.iter().map(|(code, _)| data_type::name(*code)).collect::<Vec<_>>();
        let Some((_, dtype)) = found else {
            return Err(wrong(names().join(" or "), data_type::name(value.elem_type())));
        };
        Ok(Port { name: name.to_owned(), dtype: *dtype })
    }
}

/// What a port may hold.
type Types<'a> = &'a [(i32, PortType)];

#[cfg(test)]
#[path = "fixed_tests.rs"]
mod tests;
