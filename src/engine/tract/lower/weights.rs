//! Constant weights, packed once: operators that name the same tensor share it.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::pb::TensorProto;

use crate::engine::tract::ops::Weights;
use crate::engine::tract::tensors::{FloatType, TensorReader, dim, elements};
use crate::kernels::dense::DenseMatrix;
use crate::kernels::quant::{BLOCK, QuantMatrix, QuantSource};

/// A float matrix in the file, and how it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DenseKey {
    /// The tensor.
    pub name: String,
    /// Whether it is stored `[k, n]` instead of `[n, k]`.
    pub transposed: bool,
}

/// The tensors of block-quantised weights, and their shape.
pub(super) struct QuantSpec<'a> {
    pub codes: &'a TensorProto,
    pub scales: &'a TensorProto,
    pub zeros: Option<&'a TensorProto>,
    pub n: usize,
    pub k: usize,
    pub bits: usize,
    pub block: usize,
    /// Whether activations stay fp32; the weights are then kept as fp32 too.
    pub exact: bool,
}

/// Every packed matrix of a graph.
#[derive(Default)]
pub(super) struct WeightStore {
    quant: HashMap<(String, String), Weights>,
    dense: HashMap<DenseKey, Weights>,
    bytes: usize,
}

impl WeightStore {
    /// Bytes of all matrices.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, weights: Weights) -> Weights {
        self.bytes += weights.bytes();
        weights
    }

    /// Block-quantised weights. Blocks of 16, float zero points and what is to be exact
    /// become dense floats.
    ///
    /// # Errors
    /// A sentence that names the tensor at fault.
    pub fn quant(
        &mut self,
        reader: &mut TensorReader,
        spec: &QuantSpec<'_>,
    ) -> Result<Weights, String> {
        let key = (spec.codes.name.clone(), spec.scales.name.clone());
        if let Some(weights) = self.quant.get(&key) {
            return Ok(weights.clone());
        }
        let scales = reader.floats(spec.scales)?;
        let float_zeros = spec.zeros.filter(|zeros| FloatType::of(zeros).is_ok());
        let zeros = match spec.zeros.filter(|_| float_zeros.is_none()) {
            Some(zeros) => Some(reader.bytes(zeros)?.into_owned()),
            None => None,
        };
        let float_zeros = float_zeros.map(|zeros| reader.floats(zeros)).transpose()?;
        let codes = reader.bytes(spec.codes)?;
        let source = QuantSource {
            n: spec.n,
            k: spec.k,
            bits: spec.bits,
            block: spec.block,
            codes: &codes,
            scales: &scales,
            zeros: zeros.as_deref(),
        };
        let named = |error| format!("tensor {}: {error}", spec.codes.name);
        source.check().map_err(named)?;
        let weights = if let Some(zeros) = float_zeros {
            if zeros.len() < scales.len() {
                return Err(format!("tensor {}: too few zero points", spec.codes.name));
            }
            // `value` takes the middle code as zero; the rest of the way is a float.
            let middle = (1 << (spec.bits - 1)) as f32;
            let value = |row: usize, column: usize| {
                let block = row * source.blocks() + column / spec.block;
                source.value(row, column) + (middle - zeros[block]) * scales[block]
            };
            Weights::Dense(Arc::new(DenseMatrix::pack(spec.n, spec.k, value)))
        } else if spec.exact || !spec.block.is_multiple_of(BLOCK) {
            let value = |row, column| source.value(row, column);
            Weights::Dense(Arc::new(DenseMatrix::pack(spec.n, spec.k, value)))
        } else {
            Weights::Quant(Arc::new(QuantMatrix::pack(&source).map_err(named)?))
        };
        let weights = self.keep(weights);
        self.quant.insert(key, weights.clone());
        Ok(weights)
    }

    /// Float weights.
    ///
    /// # Errors
    /// A sentence that names the tensor, when it is no matrix of floats.
    pub fn dense(
        &mut self,
        reader: &mut TensorReader,
        key: &DenseKey,
        tensor: &TensorProto,
    ) -> Result<Weights, String> {
        if let Some(weights) = self.dense.get(key) {
            return Ok(weights.clone());
        }
        let float = FloatType::of(tensor)?;
        let bytes = reader.bytes(tensor)?;
        let (rows, columns) = (dim(tensor, 0), dim(tensor, 1));
        if tensor.dims.len() != 2 || bytes.len() < elements(tensor) * float.size() {
            return Err(format!("tensor {}: not a whole matrix", tensor.name));
        }
        let matrix = if key.transposed {
            DenseMatrix::pack(columns, rows, |n, k| float.read(&bytes, k * columns + n))
        } else {
            DenseMatrix::pack(rows, columns, |n, k| float.read(&bytes, n * columns + k))
        };
        let weights = self.keep(Weights::Dense(Arc::new(matrix)));
        self.dense.insert(key.clone(), weights.clone());
        Ok(weights)
    }

    /// Float weights that some product uses already.
    pub fn shared(&self, key: &DenseKey) -> Option<Weights> {
        self.dense.get(key).cloned()
    }
}
