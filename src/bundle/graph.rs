//! The decoder graph as engines see it: ports found by name, shapes and types read from the file.

use crate::core::plan::KvType;
use std::path::PathBuf;

/// Where the ONNX file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphSource {
    /// A file; external data lies beside it.
    File(PathBuf),
    /// Bytes in the binary, without external data.
    Embedded(&'static [u8]),
}

impl GraphSource {
    /// The file's name, for messages.
    pub fn file_name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Embedded(_) => "embedded model.onnx".to_owned(),
        }
    }
}

/// Element types that ports of a decoder have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortType {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 8-bit integer.
    I8,
    /// 8-bit code without a sign.
    U8,
    /// 16-bit code without a sign.
    U16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
}

impl PortType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
            Self::I64 => 8,
        }
    }
}

/// A graph input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Its element type.
    pub dtype: PortType,
}

/// The cache ports of one layer, each `[batch, kv_heads, positions, head_dim]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPorts {
    /// Input: keys so far.
    pub past_key: String,
    /// Input: values so far.
    pub past_value: String,
    /// Output: keys with the new tokens.
    pub present_key: String,
    /// Output: values with the new tokens.
    pub present_value: String,
}

/// How the graph writes new keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvUpdate {
    /// Fused attention (`com.microsoft::GroupQueryAttention`): past and present may be one buffer
    /// of full context length, written in place.
    InPlace,
    /// `present = concat(past, new)`: past has exactly the length so far, present is a new buffer.
    Append,
    /// The graph has fixed shapes and gives the keys and values of the new tokens alone: whoever runs
    /// it puts them into a cache of full context length ([`FixedShapes`]).
    Host,
}

/// Two graphs of fixed shapes in place of one, as NPUs want them. The ports have the same names and
/// types in both: `docs/npu.md` has the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedShapes {
    /// The graph for `chunk` tokens; [`ModelGraph::source`] is the one for a single token.
    pub prefill: GraphSource,
    /// Tokens of one run of it.
    pub chunk: usize,
}

/// What an engine must know of a decoder graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelGraph {
    /// The ONNX file.
    pub source: GraphSource,
    /// Token ids, `[batch, tokens]`.
    pub input_ids: Port,
    /// Ones for every position so far, `[batch, positions]`, where the graph has it. Of fixed shapes:
    /// one, or the largest code, where a token may look, `[1, 1, tokens, context + tokens]`.
    pub attention_mask: Option<Port>,
    /// Positions of the new tokens, `[batch, tokens]`, where the graph has it.
    pub position_ids: Option<Port>,
    /// The cache, layer by layer.
    pub layers: Vec<KvPorts>,
    /// Element type of the cache.
    pub kv_type: PortType,
    /// Heads of the cache.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// How the cache grows.
    pub kv_update: KvUpdate,
    /// Logits, `[batch, tokens or 1, vocab_size]`.
    pub logits: Port,
    /// Whether the head is pruned: logits of the last token only.
    pub last_logits_only: bool,
    /// Entries of a row of logits.
    pub vocab_size: usize,
    /// The longest context that the model was made for; of fixed shapes, that of the cache.
    pub context_length: usize,
    /// Where there are two graphs of fixed shapes.
    pub fixed: Option<FixedShapes>,
}

impl ModelGraph {
    /// Bytes of the cache for one position: keys and values of every layer.
    pub const fn kv_bytes_per_token(&self) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * self.kv_type.size()
    }

    /// The type of the cache; [`KvType::Int8`] has its scales among the weights.
    pub const fn kv(&self) -> KvType {
        match self.kv_type {
            PortType::F16 => KvType::F16,
            PortType::I8 | PortType::U8 => KvType::Int8,
            _ => KvType::F32,
        }
    }

    /// The most tokens of one step, if `most` may be asked for.
    pub fn chunk_within(&self, most: u32) -> u32 {
        let chunk = self.fixed.as_ref().map_or(usize::MAX, |fixed| fixed.chunk);
        most.min(u32::try_from(chunk).unwrap_or(u32::MAX))
    }

    /// The name of the graph's file, for messages.
    pub fn file_name(&self) -> String {
        self.source.file_name()
    }
}
