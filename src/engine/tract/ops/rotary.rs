//! Rotary position embedding.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, floats, ints, tensor};
use crate::kernels::elementwise;

/// The tables of cosines and sines, `[positions, rotary_dim / 2]` each.
#[derive(Debug)]
pub(in super::super) struct RotaryTables {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
    /// Half the rotated part of a head.
    pub half: usize,
}

impl RotaryTables {
    /// Positions in the tables.
    pub fn positions(&self) -> usize {
        self.cos.len().min(self.sin.len()) / self.half.max(1)
    }

    /// Rotates one head in place.
    ///
    /// # Errors
    /// When the tables end before `position`.
    pub fn rotate(&self, head: &mut [f32], position: usize, interleaved: bool) -> TractResult<()> {
        let row = position * self.half..(position + 1) * self.half;
        let (Some(cos), Some(sin)) = (self.cos.get(row.clone()), self.sin.get(row)) else {
            bail!("position {position} is beyond the rotary tables")
        };
        elementwise::rotate(head, cos, sin, interleaved);
        Ok(())
    }
}

/// ONNX Runtime's `ContribOperators.md`, `com.microsoft.RotaryEmbedding`.
///
/// Inputs: `[1, tokens, heads * head_dim]` or `[1, heads, tokens, head_dim]`, positions
/// `[1, tokens]`; the output has the first input's shape.
#[derive(Debug)]
pub(in super::super) struct Rotary {
    pub tables: Arc<RotaryTables>,
    pub interleaved: bool,
    /// Elements of one head in a rank-3 input.
    pub head_dim: usize,
}

impl Kernel for Rotary {
    fn name(&self) -> &'static str {
        "slmd.Rotary"
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        first.into()
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (shape, positions) = (inputs[0].shape(), ints(&inputs[1])?);
        let head_dim = if shape.len() == 4 { shape[3] } else { self.head_dim };
        let heads_before_tokens = shape.len() == 4;
        let heads = if heads_before_tokens { 1 } else { shape[2] / head_dim.max(1) };
        let out = tensor(shape, |out| {
            out.copy_from_slice(floats(&inputs[0])?);
            let tokens = positions.len().max(1);
            for (index, head) in out.chunks_exact_mut(head_dim.max(1)).enumerate() {
                let position = usize::try_from(positions[index / heads.max(1) % tokens])?;
                self.tables.rotate(head, position, self.interleaved)?;
            }
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}
