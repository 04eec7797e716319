//! The KV slots as ONNX Runtime sees them.

use super::ffi::{self, Block, Tensor};
use crate::bundle::{KvUpdate, ModelGraph};
use ort::session::IoBinding;
use std::ffi::CString;

/// The shape of one slot of one cache tensor: `[heads, positions, dim]`.
#[derive(Debug, Clone, Copy)]
struct SlotShape {
    heads: usize,
    positions: usize,
    dim: usize,
    element: crate::bundle::PortType,
}

impl SlotShape {
    const fn bytes(&self) -> usize {
        self.heads * self.positions * self.dim * self.element.size()
    }

    const fn row_bytes(&self) -> usize {
        self.dim * self.element.size()
    }

    fn tensor(
        &self,
        block: &Block,
        slot: usize,
        rows: usize,
        positions: usize,
    ) -> Result<Tensor, String> {
        let dims = [rows, self.heads, positions, self.dim].map(|d| d as i64);
        Tensor::over(block, slot * self.bytes(), &dims, self.element)
    }
}

/// The cache tensors of all layers, keys and values, for all slots.
#[derive(Debug)]
pub struct Cache {
    shape: SlotShape,
    update: KvUpdate,
    past: Vec<CString>,
    present: Vec<CString>,
    /// Each `[slots, heads, positions, dim]`.
    blocks: Vec<Block>,
    /// For [`KvUpdate::Append`]: where the graph writes, while it reads from `blocks`.
    spare: Vec<Block>,
    /// Per slot the length, and for [`KvUpdate::Append`] whether `spare` holds it.
    lens: Vec<(usize, bool)>,
}

impl Cache {
    /// Zeroed slots for `graph`.
    pub fn new(graph: &ModelGraph, slots: usize, positions: usize) -> Result<Self, String> {
        let shape = SlotShape {
            heads: graph.kv_heads,
            positions,
            dim: graph.head_dim,
            element: graph.kv_type,
        };
        let (mut past, mut present) = (Vec::new(), Vec::new());
        for layer in &graph.layers {
            past.extend([ffi::name(&layer.past_key)?, ffi::name(&layer.past_value)?]);
            present.extend([ffi::name(&layer.present_key)?, ffi::name(&layer.present_value)?]);
        }
        let make = || past.iter().map(|_| Block::zeroed(slots * shape.bytes())).collect();
        let blocks = make();
        let spare = if graph.kv_update == KvUpdate::Append { make() } else { Vec::new() };
        let lens = vec![(0, false); slots];
        Ok(Self { shape, update: graph.kv_update, past, present, blocks, spare, lens })
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().chain(&self.spare).map(Block::bytes).sum()
    }

    /// How the graph writes.
    pub const fn update(&self) -> KvUpdate {
        self.update
    }

    /// Binds slots `base..base + rows` in full length as past and present. Only for
    /// [`KvUpdate::InPlace`], where it holds for every later run.
    pub fn bind_in_place(
        &self,
        binding: &IoBinding,
        base: usize,
        rows: usize,
    ) -> Result<(), String> {
        for ((block, past), present) in self.blocks.iter().zip(&self.past).zip(&self.present) {
            let tensor = self.shape.tensor(block, base, rows, self.shape.positions)?;
            ffi::bind_input(binding, past, &tensor)?;
            ffi::bind_output(binding, present, &tensor)?;
        }
        Ok(())
    }

    /// Binds the positions of `slot` as past and room for `new` more as present. Only for
    /// [`KvUpdate::Append`], before every run; [`Cache::grew`] follows a successful one.
    pub fn bind_append(&self, binding: &IoBinding, slot: usize, new: usize) -> Result<(), String> {
        let (pos, side) = self.lens[slot];
        let (from, to) = match side {
            false => (&self.blocks, &self.spare),
            true => (&self.spare, &self.blocks),
        };
        for (index, (past, present)) in self.past.iter().zip(&self.present).enumerate() {
            ffi::bind_input(binding, past, &self.shape.tensor(&from[index], slot, 1, pos)?)?;
            ffi::bind_output(
                binding,
                present,
                &self.shape.tensor(&to[index], slot, 1, pos + new)?,
            )?;
        }
        Ok(())
    }

    /// Takes note that a run made `slot` hold `len` positions.
    pub fn grew(&mut self, slot: usize, len: usize) {
        let turned = self.update == KvUpdate::Append;
        let (old, side) = &mut self.lens[slot];
        (*old, *side) = (len, *side != turned);
    }

    /// Positions that `slot` holds.
    pub fn len(&self, slot: usize) -> usize {
        self.lens[slot].0
    }

    /// Whether `slot` has room for a position beyond those that it holds.
    pub fn takes_more(&self, slot: usize) -> bool {
        self.len(slot) < self.shape.positions
    }

    /// Forgets positions beyond `len`. Where the graph appends, heads move together, since the
    /// tensor is packed.
    pub fn truncate(&mut self, slot: usize, len: usize) {
        let (old, side) = self.lens[slot];
        if self.update == KvUpdate::Append && len < old && len > 0 {
            let (row, start) = (self.shape.row_bytes(), slot * self.shape.bytes());
            let blocks = if side { &mut self.spare } else { &mut self.blocks };
            for block in blocks {
                let bytes = block.elements_mut::<u8>();
                for head in 1..self.shape.heads {
                    let from = start + head * old * row;
                    bytes.copy_within(from..from + len * row, start + head * len * row);
                }
            }
        }
        self.lens[slot].0 = len;
    }
}
