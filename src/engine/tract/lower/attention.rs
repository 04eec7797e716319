//! `GroupQueryAttention`: the cache moves from the graph's ports into the session.
//!
//! How the graph keeps keys and values, and the scales that it has for that, do not matter: the
//! slots have a type of their own.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;

use super::{Lowering, is_microsoft};
use crate::engine::tract::inputs::SLOTS;
use crate::engine::tract::kv::KvShape;
use crate::engine::tract::ops::{GroupQueryAttention, HeadNorms, OwnOp, RotaryTables};
use crate::engine::tract::proto::{Attributes, input};
use crate::engine::tract::tensors::dim;
use crate::kernels::attention::Attention;

impl Lowering<'_> {
    /// Replaces every attention node.
    pub(super) fn lower_attention(&mut self) {
        let mut layers = 0;
        for index in 0..self.graph.nodes.len() {
            let node = self.graph.nodes[index].clone();
            if !is_microsoft(&node, "GroupQueryAttention") {
                continue;
            }
            layers += 1;
            let Some(op) = self.attention(&node) else { continue };
            self.kv_bytes += op.kv.bytes();
            let mut inputs = vec![node.input[0].clone()];
            if !op.packed {
                inputs.extend([node.input[1].clone(), node.input[2].clone()]);
            }
            inputs.extend([SLOTS.to_owned(), self.positions.clone()]);
            self.replace(index, OwnOp::new(op), inputs, vec![node.output[0].clone()]);
        }
        if layers != self.model.layers.len() {
            let want = self.model.layers.len();
            self.problem(format!("{layers} GroupQueryAttention nodes for {want} cache layers"));
        }
    }

    fn attention(&mut self, node: &NodeProto) -> Option<GroupQueryAttention> {
        let before = self.problems.len();
        for (name, index) in [("attention_bias", 10), ("head_sink", 11)] {
            if input(node, index).is_some() {
                self.problem(format!("GroupQueryAttention with {name}"));
            }
        }
        for (name, plain) in [("smooth_softmax", 0), ("qk_output", 0), ("causal", 1)] {
            let value = node.int(name, plain);
            if value != plain && !(name == "smooth_softmax" && value < 0) {
                self.problem(format!("GroupQueryAttention with {name} = {value}"));
            }
        }
        let heads = usize::try_from(node.int("num_heads", 0)).unwrap_or(0);
        let kv_heads = usize::try_from(node.int("kv_num_heads", 0)).unwrap_or(0);
        let head_dim = self.model.head_dim;
        if kv_heads == 0 || heads % kv_heads != 0 || kv_heads != self.model.kv_heads {
            self.problem(format!(
                "GroupQueryAttention with {heads} heads and {kv_heads} KV heads, while the cache \
                 has {}",
                self.model.kv_heads
            ));
        }
        let rotary = if node.int("do_rotary", 0) != 0 { self.rotary(node, 7) } else { None };
        if let Some(tables) = &rotary {
            self.check_positions(tables);
            if tables.half * 2 > head_dim {
                self.problem("rotary tables wider than a head");
            }
        }
        let norms = self.head_norms(node);
        let window = usize::try_from(node.int("local_window_size", -1)).ok().filter(|&w| w > 0);
        let scale = node.float("scale", 0.0);
        if self.problems.len() > before {
            return None;
        }
        Some(GroupQueryAttention {
            runtime: Arc::clone(&self.runtime),
            heads,
            kv_heads,
            attention: Attention {
                head_dim,
                scale: if scale == 0.0 { 1.0 / (head_dim as f32).sqrt() } else { scale },
                softcap: node.float("softcap", 0.0),
            },
            packed: input(node, 1).is_none(),
            rotary,
            interleaved: node.int("rotary_interleaved", 0) != 0,
            norms,
            window,
            kv: KvShape {
                kv: self.options.kv,
                slots: usize::from(self.options.slots.max(1)),
                heads: kv_heads,
                context: self.options.context_tokens as usize,
                dim: head_dim,
            },
        })
    }

    fn head_norms(&mut self, node: &NodeProto) -> Option<HeadNorms> {
        let query = self.floats(node, 14)?;
        let key = self.floats(node, 15)?;
        let epsilon = node.float("qk_norm_epsilon", 1e-6);
        Some(HeadNorms { query: Arc::new(query), key: Arc::new(key), epsilon })
    }

    /// The rotary tables at inputs `first` (cosines) and `first + 1` (sines).
    pub(super) fn rotary(&mut self, node: &NodeProto, first: usize) -> Option<Arc<RotaryTables>> {
        let key = (node.input.get(first)?.clone(), node.input.get(first + 1)?.clone());
        if let Some(tables) = self.tables.get(&key) {
            return Some(Arc::clone(tables));
        }
        let half = self.graph.constant(&key.0).map_or(0, |tensor| dim(tensor, 1));
        let (cos, sin) = (self.floats(node, first)?, self.floats(node, first + 1)?);
        let tables = Arc::new(RotaryTables { cos, sin, half });
        self.tables.insert(key, Arc::clone(&tables));
        Some(tables)
    }

    /// Notes rotary tables that end before the context does.
    pub(super) fn check_positions(&mut self, tables: &RotaryTables) {
        let (have, want) = (tables.positions(), self.options.context_tokens as usize);
        if have < want {
            self.problem(format!(
                "a context of {want} tokens, while the rotary tables have {have}"
            ));
        }
    }
}
