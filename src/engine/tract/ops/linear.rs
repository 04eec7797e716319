//! Products with constant weights.

use std::sync::{Arc, PoisonError};

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, Runtime, floats, tensor};
use crate::kernels::dense::{self, DenseMatrix};
use crate::kernels::quant::{self, QuantMatrix};

/// Packed weights, `[n, k]`, possibly shared by several operators.
#[derive(Debug, Clone)]
pub(in super::super) enum Weights {
    /// 4 or 8 bits.
    Quant(Arc<QuantMatrix>),
    /// Floats.
    Dense(Arc<DenseMatrix>),
}

impl Weights {
    /// Output features.
    pub fn n(&self) -> usize {
        match self {
            Self::Quant(matrix) => matrix.n(),
            Self::Dense(matrix) => matrix.n(),
        }
    }

    /// Input features.
    pub fn k(&self) -> usize {
        match self {
            Self::Quant(matrix) => matrix.k(),
            Self::Dense(matrix) => matrix.k(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Quant(matrix) => matrix.bytes(),
            Self::Dense(matrix) => matrix.bytes(),
        }
    }

    /// Row `row` as floats.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Quant(matrix) => matrix.row(row, out),
            Self::Dense(matrix) => matrix.row(row, out),
        }
    }
}

/// `y = x * weights^T + bias`: `MatMulNBits`, and `MatMul` with a constant.
///
/// Input `[.., k]`, output `[.., n]`. Definition: ONNX Runtime's `ContribOperators.md`,
/// `com.microsoft.MatMulNBits`; activations are quantised to 8 bits per block of the
/// weights, as its `accuracy_level = 4` has it, at every accuracy level of 4-bit weights. 8-bit
/// weights with fp32 activations (levels 0 and 1) are dense here.
#[derive(Debug)]
pub(in super::super) struct Linear {
    pub runtime: Arc<Runtime>,
    pub weights: Weights,
    /// `n` values, or none.
    pub bias: Vec<f32>,
}

impl Kernel for Linear {
    fn name(&self) -> &'static str {
        match self.weights {
            Weights::Quant(_) => "slmd.QuantLinear",
            Weights::Dense(_) => "slmd.Linear",
        }
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        let mut shape: TVec<TDim> = first.into();
        if let Some(width) = shape.last_mut() {
            *width = self.weights.n().to_dim();
        }
        shape
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (runtime, x) = (&*self.runtime, floats(&inputs[0])?);
        let (n, k) = (self.weights.n(), self.weights.k());
        let mut shape: TVec<usize> = inputs[0].shape().into();
        ensure!(shape.pop() == Some(k), "input {:?} for weights of {k} columns", inputs[0]);
        let rows = shape.iter().product();
        shape.push(n);
        let y = tensor(&shape, |y| {
            match &self.weights {
                Weights::Quant(weights) => {
                    let mut activations =
                        runtime.activations.lock().unwrap_or_else(PoisonError::into_inner);
                    activations.quantise(runtime.isa, x, rows, k, weights.act_group());
                    quant::matmul(runtime.isa, &runtime.pool, weights, &activations, &self.bias, y);
                }
                Weights::Dense(weights) => {
                    dense::matmul(runtime.isa, &runtime.pool, weights, x, &self.bias, y);
                }
            }
            Ok(())
        })?;
        Ok(tvec!(y))
    }
}
