//! Node by node: which operators become ours, and which nobody knows.

use std::sync::Arc;

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::weights::{DenseKey, QuantSpec};
use super::{Lowering, is_microsoft};
use crate::engine::tract::ops::{Embedding, Linear, OwnOp, QuickGelu, RmsNorm, Rotary, Weights};
use crate::engine::tract::proto::{Attributes, input, is_standard};
use crate::engine::tract::tensors::{dim, elements};

/// An operator of ours with the inputs and outputs that it keeps.
type Replacement = (OwnOp, Vec<String>, Vec<String>);

impl Lowering<'_> {
    /// Replaces what is ours and notes what neither we nor tract know (`known`).
    pub(super) fn lower_nodes(&mut self, known: &dyn Fn(&str) -> bool) {
        // Products first: a table that the head shares is then known to the embedding.
        for products in [true, false] {
            for index in 0..self.graph.nodes.len() {
                let node = self.graph.nodes[index].clone();
                let is_product = node.op_type.contains("MatMul");
                if is_product != products || self.ops.contains_key(&node.name) {
                    continue;
                }
                match self.lower_node(&node) {
                    Ok(Some((op, inputs, outputs))) => self.replace(index, op, inputs, outputs),
                    Ok(None) if known(&node.op_type) => {}
                    Ok(None) => self.problem(format!("operator {}", full_name(&node))),
                    Err(why) => self.problem(why),
                }
            }
        }
    }

    fn lower_node(&mut self, node: &NodeProto) -> Result<Option<Replacement>, String> {
        if is_microsoft(node, "MatMulNBits") {
            return self.mat_mul_n_bits(node).map(Some);
        }
        if is_standard(node, "MatMul") || is_microsoft(node, "FusedMatMul") {
            return self.mat_mul(node);
        }
        if is_microsoft(node, "GatherBlockQuantized") {
            return self.gather_block_quantized(node).map(Some);
        }
        if is_standard(node, "Gather") {
            return Ok(self.gather(node));
        }
        if is_microsoft(node, "SkipSimplifiedLayerNormalization") {
            return self.skip_norm(node).map(Some);
        }
        if node.op_type == "SimplifiedLayerNormalization" || is_standard(node, "RMSNormalization") {
            return Ok(self.norm(node));
        }
        if is_microsoft(node, "RotaryEmbedding") {
            return self.rotary_embedding(node);
        }
        if is_microsoft(node, "QuickGelu") {
            let runtime = Arc::clone(&self.runtime);
            let op = OwnOp::new(QuickGelu { runtime, alpha: node.float("alpha", 1.702) });
            return Ok(Some((op, vec![node.input[0].clone()], vec![node.output[0].clone()])));
        }
        Ok(None)
    }

    fn linear(&self, weights: Weights, bias: Vec<f32>, node: &NodeProto) -> Replacement {
        let runtime = Arc::clone(&self.runtime);
        let op = OwnOp::new(Linear { runtime, weights, bias });
        (op, vec![node.input[0].clone()], vec![node.output[0].clone()])
    }

    fn mat_mul_n_bits(&mut self, node: &NodeProto) -> Result<Replacement, String> {
        let size = |name: &str, default| usize::try_from(node.int(name, default)).unwrap_or(0);
        let constant = |index| input(node, index).and_then(|name| self.graph.constant(name));
        let (Some(codes), Some(scales)) = (constant(1), constant(2)) else {
            return Err("MatMulNBits with weights that are not constant".to_owned());
        };
        if input(node, 4).is_some() {
            return Err("MatMulNBits with g_idx".to_owned());
        }
        if node.int("weight_prepacked", 0) != 0 {
            return Err("MatMulNBits with weight_prepacked".to_owned());
        }
        if input(node, 3).is_some() && constant(3).is_none() {
            return Err("MatMulNBits with zero points that are not constant".to_owned());
        }
        let spec = QuantSpec {
            codes,
            scales,
            zeros: constant(3),
            n: size("N", 0),
            k: size("K", 0),
            bits: size("bits", 4),
            block: size("block_size", 0),
            // Who takes 8-bit weights without `accuracy_level = 4` is after precision; 4-bit ones
            // without it are common, and eight times their size would fit no board.
            exact: size("bits", 4) == 8 && node.int("accuracy_level", 0) < 2,
        };
        if spec.block == 0 {
            return Err("MatMulNBits without block_size".to_owned());
        }
        let weights = self.weights.quant(&mut self.reader, &spec)?;
        let bias = self.floats(node, 5).unwrap_or_default();
        Ok(self.linear(weights, bias, node))
    }

    /// A product with a constant matrix; others are tract's.
    fn mat_mul(&mut self, node: &NodeProto) -> Result<Option<Replacement>, String> {
        let fused = node.op_type == "FusedMatMul";
        let Some((tensor, transposed)) = input(node, 1).and_then(|b| self.graph.matrix(b)) else {
            return if fused { Err("FusedMatMul of two variables".to_owned()) } else { Ok(None) };
        };
        let plain = node.int("transA", 0) == 0
            && node.int("transBatchA", 0) == 0
            && node.float("alpha", 1.0) == 1.0;
        if fused && !plain {
            return Err("FusedMatMul with transA or alpha".to_owned());
        }
        // `x * B` wants the columns of B as our rows.
        let b_is_n_by_k = transposed != (node.int("transB", 0) != 0);
        let key = DenseKey { name: tensor.name.clone(), transposed: !b_is_n_by_k };
        let weights = self.weights.dense(&mut self.reader, &key, tensor)?;
        Ok(Some(self.linear(weights, Vec::new(), node)))
    }

    fn gather_block_quantized(&mut self, node: &NodeProto) -> Result<Replacement, String> {
        let data = input(node, 0).and_then(|name| self.graph.constant_through_reshape(name));
        let scales = input(node, 2).and_then(|name| self.graph.constant_through_reshape(name));
        let zeros = input(node, 3).and_then(|name| self.graph.constant_through_reshape(name));
        let (Some(codes), Some(scales)) = (data, scales) else {
            return Err("GatherBlockQuantized with data that is not constant".to_owned());
        };
        // Signed codes and unsigned ones without an offset exist too; exporters write these.
        let bytes = codes.data_type == DataType::Uint8 as i32;
        let bits = usize::try_from(node.int("bits", 4)).unwrap_or(0);
        let block = usize::try_from(node.int("block_size", 128)).unwrap_or(0);
        let rank = scales.dims.len() as i64;
        let last = matches!(node.int("quantize_axis", 1), axis if axis == -1 || axis == rank - 1);
        if !bytes || block == 0 || node.int("gather_axis", 0) != 0 || (rank == 2 && !last) {
            return Err("GatherBlockQuantized of other than bytes along the last axis".to_owned());
        }
        let n = dim(codes, 0);
        let k = (elements(codes) * 8).checked_div(bits * n).unwrap_or(0);
        let spec = QuantSpec { codes, scales, zeros, n, k, bits, block, exact: false };
        let weights = self.weights.quant(&mut self.reader, &spec)?;
        let op = OwnOp::new(Embedding { weights });
        Ok((op, vec![node.input[1].clone()], vec![node.output[0].clone()]))
    }

    /// An embedding from a table that some product holds packed already; others are tract's.
    fn gather(&mut self, node: &NodeProto) -> Option<Replacement> {
        let (tensor, transposed) = self.graph.matrix(input(node, 0)?)?;
        let key = DenseKey { name: tensor.name.clone(), transposed };
        let weights = self.weights.shared(&key).filter(|_| node.int("axis", 0) == 0)?;
        let op = OwnOp::new(Embedding { weights });
        Some((op, vec![node.input[1].clone()], vec![node.output[0].clone()]))
    }

    fn norm(&mut self, node: &NodeProto) -> Option<Replacement> {
        let axis = node.int("axis", -1);
        let weight = self.floats(node, 1)?;
        let extra = node.output.iter().skip(1).any(|name| !name.is_empty());
        // Only the last axis; its rank is 3 in every decoder, 4 after a split into heads.
        if extra || !matches!(axis, -1 | 2 | 3) {
            return None;
        }
        let op = OwnOp::new(RmsNorm {
            runtime: Arc::clone(&self.runtime),
            weight: Arc::new(weight),
            epsilon: node.float("epsilon", 1e-5),
            skip: false,
            bias: Vec::new(),
            keep_sum: false,
        });
        Some((op, vec![node.input[0].clone()], vec![node.output[0].clone()]))
    }

    fn skip_norm(&mut self, node: &NodeProto) -> Result<Replacement, String> {
        let weight =
            self.floats(node, 2).ok_or("SkipSimplifiedLayerNormalization without gamma")?;
        let bias = self.floats(node, 3).unwrap_or_default();
        let named = |index: usize| node.output.get(index).filter(|name| !name.is_empty());
        if named(1).is_some() || named(2).is_some() {
            return Err("SkipSimplifiedLayerNormalization with mean outputs".to_owned());
        }
        let sum = named(3).cloned();
        let op = OwnOp::new(RmsNorm {
            runtime: Arc::clone(&self.runtime),
            weight: Arc::new(weight),
            epsilon: node.float("epsilon", 1e-5),
            skip: true,
            bias,
            keep_sum: sum.is_some(),
        });
        let outputs = node.output.first().cloned().into_iter().chain(sum).collect();
        Ok((op, node.input[..2].to_vec(), outputs))
    }

    fn rotary_embedding(&mut self, node: &NodeProto) -> Result<Option<Replacement>, String> {
        let scale = node.float("scale", 1.0);
        if node.int("is_packed_batching", 0) != 0 || scale != 1.0 {
            return Err("RotaryEmbedding with is_packed_batching or scale".to_owned());
        }
        let Some(tables) = self.rotary(node, 2) else { return Ok(None) };
        self.check_positions(&tables);
        let rotary_dim = usize::try_from(node.int("rotary_embedding_dim", 0)).unwrap_or(0);
        let op = OwnOp::new(Rotary {
            head_dim: if rotary_dim > 0 { self.model.head_dim } else { tables.half * 2 },
            tables,
            interleaved: node.int("interleaved", 0) != 0,
        });
        Ok(Some((op, node.input[..2].to_vec(), vec![node.output[0].clone()])))
    }
}

/// Domain and name of a node's operator.
fn full_name(node: &NodeProto) -> String {
    if node.domain.is_empty() {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}
