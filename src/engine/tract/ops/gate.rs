//! Activation functions of the MLP.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, Runtime, floats, tensor};
use crate::kernels::elementwise;

/// `gate * sigmoid(gate) * up`, from two tensors or from the halves of one.
#[derive(Debug)]
pub(in super::super) struct GatedSilu {
    pub runtime: Arc<Runtime>,
    /// One input `[.., 2 * width]`: the gate first, then the factor.
    pub packed: bool,
}

impl Kernel for GatedSilu {
    fn name(&self) -> &'static str {
        "slmd.GatedSilu"
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        let mut shape: TVec<TDim> = first.into();
        if let (true, Some(width)) = (self.packed, shape.last_mut()) {
            *width = width.clone() / 2;
        }
        shape
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let isa = self.runtime.isa;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if !self.packed {
            ensure!(inputs[1].shape() == &*shape, "{:?} and {:?}", inputs[0], inputs[1]);
            let (gate, up) = (floats(&inputs[0])?, floats(&inputs[1])?);
            let out = tensor(&shape, |out| {
                elementwise::silu_mul(isa, gate, up, out);
                Ok(())
            })?;
            return Ok(tvec!(out));
        }
        let width = shape.pop().unwrap_or(0) / 2;
        shape.push(width);
        let both = floats(&inputs[0])?;
        let out = tensor(&shape, |out| {
            let rows = both.chunks_exact((2 * width).max(1));
            for (row, out) in rows.zip(out.chunks_exact_mut(width.max(1))) {
                let (gate, up) = row.split_at(width);
                elementwise::silu_mul(isa, gate, up, out);
            }
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

/// `x * sigmoid(alpha * x)`: ONNX Runtime's `ContribOperators.md`, `com.microsoft.QuickGelu`.
#[derive(Debug)]
pub(in super::super) struct QuickGelu {
    pub runtime: Arc<Runtime>,
    pub alpha: f32,
}

impl Kernel for QuickGelu {
    fn name(&self) -> &'static str {
        "slmd.QuickGelu"
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        first.into()
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let out = tensor(inputs[0].shape(), |out| {
            elementwise::quick_gelu(self.runtime.isa, floats(&inputs[0])?, self.alpha, out);
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}
