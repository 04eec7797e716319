//! The positions whose logits are asked for.

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, floats, ints, tensor};

/// Rows of the hidden state by index: what the head is to see.
///
/// Inputs: hidden state `[1, tokens, width]`, indices `[rows]`; output `[1, rows, width]`.
#[derive(Debug)]
pub(in super::super) struct SelectRows;

impl Kernel for SelectRows {
    fn name(&self) -> &'static str {
        "slmd.SelectRows"
    }

    fn shape(&self, first: &[TDim], last: &[TDim]) -> TVec<TDim> {
        let mut shape: TVec<TDim> = first.into();
        if let (Some(rows), Some(count)) = (shape.get_mut(1), last.first()) {
            *rows = count.clone();
        }
        shape
    }

    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (hidden, rows) = (floats(&inputs[0])?, ints(&inputs[1])?);
        let width = inputs[0].shape().last().copied().unwrap_or(0).max(1);
        let selected = tensor(&[1, rows.len(), width], |out| {
            for (row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                let row = usize::try_from(*row).context("a negative row")?;
                let from =
                    hidden.get(row * width..(row + 1) * width).context("row beyond the end")?;
                out.copy_from_slice(from);
            }
            Ok(())
        })?;
        Ok(tvec!(selected))
    }
}
