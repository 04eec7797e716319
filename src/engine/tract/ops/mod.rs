//! Our own operators, and how tract sees them.
//!
//! All of them take and give floats in row-major tensors (token ids, slots and positions are 64-bit
//! integers), and own their weights: tract never sees those.

mod attention;
mod embedding;
mod gate;
mod linear;
mod norm;
mod rotary;
mod select;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tract_onnx::tract_hir::internal::*;

pub(super) use attention::{GroupQueryAttention, HeadNorms};
pub(super) use embedding::Embedding;
pub(super) use gate::{GatedSilu, QuickGelu};
pub(super) use linear::{Linear, Weights};
pub(super) use norm::RmsNorm;
pub(super) use rotary::{Rotary, RotaryTables};
pub(super) use select::SelectRows;

use crate::kernels::Isa;
use crate::kernels::pool::Pool;
use crate::kernels::quant::Activations;

/// What the operators of one engine share: the code path, the threads, a scratch buffer.
#[derive(Debug)]
pub(super) struct Runtime {
    pub isa: Isa,
    pub pool: Pool,
    pub activations: Mutex<Activations>,
}

/// An operator of our own.
pub(super) trait Kernel: Debug + Send + Sync {
    /// The name in traces.
    fn name(&self) -> &'static str;

    /// How many outputs it has.
    fn outputs(&self) -> usize {
        1
    }

    /// The shape of every output, from those of the first input and the last.
    fn shape(&self, first: &[TDim], last: &[TDim]) -> TVec<TDim>;

    /// Computes the outputs.
    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>>;

    /// What it keeps between steps, if anything; `run` is not called then.
    fn state(&self) -> Option<Box<dyn OpState>> {
        None
    }
}

/// A [`Kernel`] as tract's operator, before and after typing.
#[derive(Debug, Clone)]
pub(super) struct OwnOp(pub Arc<dyn Kernel>);

impl OwnOp {
    pub fn new(kernel: impl Kernel + 'static) -> Self {
        Self(Arc::new(kernel))
    }
}

impl PartialEq for OwnOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for OwnOp {}

impl Expansion for OwnOp {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let last = inputs.len().checked_sub(1).context("an operator without inputs")?;
        for output in outputs {
            solver.equals(&output.datum_type, f32::datum_type())?;
        }
        solver.given_2(&inputs[0].shape, &inputs[last].shape, move |solver, first, last| {
            for output in outputs {
                solver.equals(&output.shape, self.0.shape(&first, &last))?;
            }
            Ok(())
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }
}

impl Op for OwnOp {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for OwnOp {
    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.run(&inputs)
    }

    // Never folded into a constant: the inputs change with every step.
    not_out_of_plan!();

    fn state(&self, _ctx: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(self.0.state())
    }
}

impl TypedOp for OwnOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            bail!("{} without inputs", self.0.name())
        };
        let shape = self.0.shape(&first.shape.to_tvec(), &last.shape.to_tvec());
        Ok((0..self.0.outputs()).map(|_| f32::fact(&shape)).collect())
    }

    as_op!();
}

/// The floats of an input.
fn floats(value: &TValue) -> TractResult<&[f32]> {
    value.try_as_plain_ram()?.as_slice::<f32>()
}

/// The integers of an input.
fn ints(value: &TValue) -> TractResult<&[i64]> {
    value.try_as_plain_ram()?.as_slice::<i64>()
}

/// A new tensor of floats that `fill` writes.
fn tensor(
    shape: &[usize],
    fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
) -> TractResult<TValue> {
    let mut tensor = Tensor::zero::<f32>(shape)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
    Ok(tensor.into_tvalue())
}
