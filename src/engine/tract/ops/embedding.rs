//! Rows of a weight matrix by token id.

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, Weights, ints, tensor};

/// `GatherBlockQuantized` along axis 0, and `Gather` of a table that the head shares.
///
/// Input: ids `[..]`; output `[.., k]`. An id out of range gives zeros, negative ids count from the
/// end, as ONNX Runtime's `ContribOperators.md`, `com.microsoft.GatherBlockQuantized`, says.
#[derive(Debug)]
pub(in super::super) struct Embedding {
    pub weights: Weights,
}

impl Kernel for Embedding {
    fn name(&self) -> &'static str {
        "slmd.Embedding"
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        first.iter().cloned().chain(Some(self.weights.k().to_dim())).collect()
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (n, k) = (self.weights.n() as i64, self.weights.k());
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.push(k);
        let ids = inputs[0].cast_to::<i64>()?.into_owned().into_tvalue();
        let rows = tensor(&shape, |out| {
            for (id, row) in ints(&ids)?.iter().zip(out.chunks_exact_mut(k.max(1))) {
                let id = if *id < 0 { id + n } else { *id };
                if (0..n).contains(&id) {
                    self.weights.row(id as usize, row);
                }
            }
            Ok(())
        })?;
        Ok(tvec!(rows))
    }
}
