//! Root mean square norms.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, Runtime, floats, tensor};
use crate::kernels::elementwise;

/// `SimplifiedLayerNormalization` and `RMSNormalization` along the last axis, and
/// `com.microsoft.SkipSimplifiedLayerNormalization`.
///
/// Inputs: `x`, and with `skip` a second tensor of the same shape that is added first. Outputs: the
/// norm of the sum, times the weight; with `keep_sum` the sum too.
#[derive(Debug)]
pub(in super::super) struct RmsNorm {
    pub runtime: Arc<Runtime>,
    pub weight: Arc<Vec<f32>>,
    pub epsilon: f32,
    /// Whether there is a second input.
    pub skip: bool,
    /// Added to the sum; usually empty.
    pub bias: Vec<f32>,
    /// Whether the sum is an output.
    pub keep_sum: bool,
}

impl Kernel for RmsNorm {
    fn name(&self) -> &'static str {
        "slmd.RmsNorm"
    }

    fn outputs(&self) -> usize {
        1 + usize::from(self.keep_sum)
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        first.into()
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (isa, shape) = (self.runtime.isa, inputs[0].shape());
        let width = self.weight.len();
        ensure!(shape.last() == Some(&width), "input {:?} for {width} weights", inputs[0]);
        let sum = if self.skip {
            ensure!(inputs[1].shape() == shape, "{:?} and {:?}", inputs[0], inputs[1]);
            tensor(shape, |sum| {
                elementwise::add(isa, floats(&inputs[0])?, floats(&inputs[1])?, sum);
                for row in sum.chunks_exact_mut(self.bias.len().max(1)) {
                    row.iter_mut().zip(&self.bias).for_each(|(sum, bias)| *sum += bias);
                }
                Ok(())
            })?
        } else {
            inputs[0].clone()
        };
        let norm = tensor(shape, |norm| {
            elementwise::rms_norm(isa, floats(&sum)?, &self.weight, self.epsilon, norm);
            Ok(())
        })?;
        Ok(if self.keep_sum { tvec!(norm, sum) } else { tvec!(norm) })
    }
}
