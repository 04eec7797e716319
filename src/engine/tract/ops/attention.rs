//! Grouped-query attention over the KV slots.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::{Kernel, RotaryTables, Runtime, floats, ints, tensor};
use crate::engine::tract::kv::{KvArena, KvShape};
use crate::kernels::attention::{Attention, attend};
use crate::kernels::elementwise;

/// Per-head norms of queries and keys, before the rotation.
#[derive(Debug, Clone)]
pub(in super::super) struct HeadNorms {
    pub query: Arc<Vec<f32>>,
    pub key: Arc<Vec<f32>>,
    pub epsilon: f32,
}

/// ONNX Runtime's `ContribOperators.md`, `com.microsoft.GroupQueryAttention`, with its cache
/// replaced by slots that the session state owns.
///
/// Inputs: packed `[1, tokens, (heads + 2 * kv_heads) * head_dim]`, or queries, keys and values
/// apart; then slots and positions of the tokens, `[1, tokens]` each. Output:
/// `[1, tokens, heads * head_dim]`. Tokens may belong to different slots; those of one slot come in
/// rising order of position.
#[derive(Debug, Clone)]
pub(in super::super) struct GroupQueryAttention {
    pub runtime: Arc<Runtime>,
    pub heads: usize,
    pub kv_heads: usize,
    pub attention: Attention,
    pub packed: bool,
    pub rotary: Option<Arc<RotaryTables>>,
    pub interleaved: bool,
    pub norms: Option<HeadNorms>,
    /// How many positions a token sees, itself included.
    pub window: Option<usize>,
    pub kv: KvShape,
}

impl GroupQueryAttention {
    /// Where the heads of one token lie: (row of queries, row of keys, row of values).
    fn split<'a>(&self, inputs: &'a [TValue]) -> TractResult<[Strided<'a>; 3]> {
        let dim = self.attention.head_dim;
        let (query, side) = (self.heads * dim, self.kv_heads * dim);
        if self.packed {
            let (all, stride) = (floats(&inputs[0])?, query + 2 * side);
            return Ok([
                Strided { data: all, start: 0, width: query, stride },
                Strided { data: all, start: query, width: side, stride },
                Strided { data: all, start: query + side, width: side, stride },
            ]);
        }
        let plain = |value: &'a TValue, width| -> TractResult<Strided<'a>> {
            Ok(Strided { data: floats(value)?, start: 0, width, stride: width })
        };
        Ok([plain(&inputs[0], query)?, plain(&inputs[1], side)?, plain(&inputs[2], side)?])
    }

    /// Norm and rotation of one token's heads.
    fn prepare(&self, heads: &mut [f32], norm: Option<&[f32]>, position: usize) -> TractResult<()> {
        for head in heads.chunks_exact_mut(self.attention.head_dim.max(1)) {
            if let (Some(weight), Some(norms)) = (norm, &self.norms) {
                let raw = head.to_vec();
                elementwise::rms_norm(self.runtime.isa, &raw, weight, norms.epsilon, head);
            }
            if let Some(tables) = &self.rotary {
                tables.rotate(head, position, self.interleaved)?;
            }
        }
        Ok(())
    }

    fn run_on(&self, arena: &mut KvArena, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let dim = self.attention.head_dim;
        let [queries, keys, values] = self.split(inputs)?;
        let (slots, positions) =
            (ints(&inputs[inputs.len() - 2])?, ints(&inputs[inputs.len() - 1])?);
        let places: Vec<(usize, usize)> =
            slots.iter().zip(positions).map(|(s, p)| (*s as usize, *p as usize)).collect();
        let norms = self.norms.as_ref();
        let mut rotated = vec![0f32; places.len() * queries.width];
        for (token, &(slot, position)) in places.iter().enumerate() {
            ensure!(
                slot < self.kv.slots && position < self.kv.context,
                "slot {slot}, position {position}"
            );
            let query = &mut rotated[token * queries.width..][..queries.width];
            query.copy_from_slice(queries.row(token)?);
            self.prepare(query, norms.map(|norms| norms.query.as_slice()), position)?;
            let mut key = keys.row(token)?.to_vec();
            self.prepare(&mut key, norms.map(|norms| norms.key.as_slice()), position)?;
            arena.write(self.runtime.isa, slot, position, &key, values.row(token)?);
        }
        let group = self.heads / self.kv_heads;
        let arena = &*arena;
        let out = tensor(&[1, places.len(), queries.width], |out| {
            self.runtime.pool.chunks(out, group * dim, |part, out| {
                let (slot, position) = places[part / self.kv_heads];
                let kv_head = part % self.kv_heads;
                let end = position + 1;
                let start = self.window.map_or(0, |window| end.saturating_sub(window));
                let mut scores = vec![0f32; group * (end - start)];
                attend(
                    self.runtime.isa,
                    &self.attention,
                    &rotated[part * group * dim..(part + 1) * group * dim],
                    arena.read(slot, kv_head, start..end),
                    &mut scores,
                    out,
                );
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl Kernel for GroupQueryAttention {
    fn name(&self) -> &'static str {
        "slmd.GroupQueryAttention"
    }

    fn shape(&self, first: &[TDim], _last: &[TDim]) -> TVec<TDim> {
        let mut shape: TVec<TDim> = first.into();
        if let Some(width) = shape.last_mut() {
            *width = (self.heads * self.attention.head_dim).to_dim();
        }
        shape
    }

    fn run(&self, _inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        bail!("attention needs the session's state")
    }

    fn state(&self) -> Option<Box<dyn OpState>> {
        Some(Box::new(AttentionState { layer: self.clone(), arena: KvArena::new(self.kv) }))
    }
}

/// The keys and values of one layer, as tract's session keeps them.
#[derive(Debug, Clone)]
struct AttentionState {
    layer: GroupQueryAttention,
    arena: KvArena,
}

impl OpState for AttentionState {
    fn eval(
        &mut self,
        _ctx: &EvalContext,
        _op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        self.layer.run_on(&mut self.arena, &inputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}

/// Rows of a wider tensor.
#[derive(Clone, Copy)]
struct Strided<'a> {
    data: &'a [f32],
    start: usize,
    width: usize,
    stride: usize,
}

impl<'a> Strided<'a> {
    fn row(&self, row: usize) -> TractResult<&'a [f32]> {
        let at = row * self.stride + self.start;
        self.data.get(at..at + self.width).context("fewer rows than tokens")
    }
}
