//! The keys and values of one layer: fixed slots, filled in place, as floats or codes.

use std::ops::Range;

use crate::core::plan::KvType;
use crate::kernels::Isa;
use crate::kernels::attention::{Cached, Rows, quantise_row, round_row};

/// What the arena of one layer has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvShape {
    pub kv: KvType,
    pub slots: usize,
    /// KV heads.
    pub heads: usize,
    /// Positions of a slot.
    pub context: usize,
    /// Elements of a key or value.
    pub dim: usize,
}

impl KvShape {
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        2 * self.kv.row_bytes(self.dim) * self.rows()
    }

    /// Keys, of all slots, heads and positions.
    fn rows(&self) -> usize {
        self.slots * self.heads * self.context
    }
}

/// Keys and values, each `[slot][kv_head][position][head_dim]`.
///
/// The pages are the system's zero pages until they are written, so a slot that is never used
/// costs nothing. A position has scales of its own, so writing it again leaves nothing of what was
/// there before.
#[derive(Debug, Clone)]
pub(super) struct KvArena {
    shape: KvShape,
    store: Store,
}

#[derive(Debug, Clone)]
enum Store {
    F32(Planes<f32>),
    F16(Planes<u16>),
    Int8(Planes<i8>),
}

/// The fields of [`Rows`], for all slots.
#[derive(Debug, Clone)]
struct Planes<T> {
    keys: Vec<T>,
    values: Vec<T>,
    key_scales: Vec<f32>,
    value_scales: Vec<f32>,
}

impl<T: Copy + Default> Planes<T> {
    fn new(shape: &KvShape, scales: usize) -> Self {
        let zeros = || vec![T::default(); shape.rows() * shape.dim];
        let (key_scales, value_scales) = (vec![0.0; scales], vec![0.0; scales]);
        Self { keys: zeros(), values: zeros(), key_scales, value_scales }
    }

    fn read(&self, rows: Range<usize>, dim: usize) -> Rows<'_, T> {
        let elements = rows.start * dim..rows.end * dim;
        Rows {
            keys: &self.keys[elements.clone()],
            values: &self.values[elements],
            key_scales: self.key_scales.get(rows.clone()).unwrap_or_default(),
            value_scales: self.value_scales.get(rows).unwrap_or_default(),
        }
    }
}

impl KvArena {
    /// An empty arena.
    pub fn new(shape: KvShape) -> Self {
        let store = match shape.kv.in_slots() {
            KvType::F16 => Store::F16(Planes::new(&shape, 0)),
            KvType::Int8 => Store::Int8(Planes::new(&shape, shape.rows())),
            KvType::F32 | KvType::Auto => Store::F32(Planes::new(&shape, 0)),
        };
        Self { shape, store }
    }

    /// The first row of a head in a slot.
    fn row(&self, slot: usize, head: usize) -> usize {
        (slot * self.shape.heads + head) * self.shape.context
    }

    /// Stores one position; `key` and `value` are `[kv_head][head_dim]`.
    pub fn write(&mut self, isa: Isa, slot: usize, position: usize, key: &[f32], value: &[f32]) {
        let dim = self.shape.dim;
        for head in 0..self.shape.heads {
            let row = self.row(slot, head) + position;
            let to = row * dim..(row + 1) * dim;
            let (key, value) =
                (&key[head * dim..(head + 1) * dim], &value[head * dim..(head + 1) * dim]);
            match &mut self.store {
                Store::F32(planes) => {
                    planes.keys[to.clone()].copy_from_slice(key);
                    planes.values[to].copy_from_slice(value);
                }
                Store::F16(planes) => {
                    round_row(isa, key, &mut planes.keys[to.clone()]);
                    round_row(isa, value, &mut planes.values[to]);
                }
                Store::Int8(planes) => {
                    planes.key_scales[row] = quantise_row(isa, key, &mut planes.keys[to.clone()]);
                    planes.value_scales[row] = quantise_row(isa, value, &mut planes.values[to]);
                }
            }
        }
    }

    /// Keys and values of some positions.
    pub fn read(&self, slot: usize, head: usize, positions: Range<usize>) -> Cached<'_> {
        let (base, dim) = (self.row(slot, head), self.shape.dim);
        let rows = base + positions.start..base + positions.end;
        match &self.store {
            Store::F32(planes) => Cached::F32(planes.read(rows, dim)),
            Store::F16(planes) => Cached::F16(planes.read(rows, dim)),
            Store::Int8(planes) => Cached::Int8(planes.read(rows, dim)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::half;
    use proptest::prelude::*;

    const SHAPE: KvShape = KvShape { kv: KvType::F32, slots: 2, heads: 2, context: 3, dim: 2 };

    /// Keys and values as floats.
    fn floats(arena: &KvArena, slot: usize, head: usize, positions: Range<usize>) -> [Vec<f32>; 2] {
        let dim = arena.shape.dim;
        let scaled = |codes: &[i8], scales: &[f32]| -> Vec<f32> {
            let rows = codes.chunks(dim).zip(scales);
            rows.flat_map(|(row, scale)| row.iter().map(move |c| f32::from(*c) * scale)).collect()
        };
        match arena.read(slot, head, positions) {
            Cached::F32(rows) => [rows.keys.to_vec(), rows.values.to_vec()],
            Cached::F16(rows) => {
                [rows.keys, rows.values].map(|r| r.iter().map(|h| half::to_f32(*h)).collect())
            }
            Cached::Int8(rows) => {
                [scaled(rows.keys, rows.key_scales), scaled(rows.values, rows.value_scales)]
            }
        }
    }

    #[test]
    fn slots_heads_and_positions_do_not_mix() {
        for kv in [KvType::F32, KvType::F16] {
            let mut arena = KvArena::new(KvShape { kv, ..SHAPE });
            let isa = Isa::detect();
            arena.write(isa, 1, 2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
            assert_eq!(floats(&arena, 1, 0, 2..3)[0], [1.0, 2.0]);
            assert_eq!(floats(&arena, 1, 1, 1..3)[0], [0.0, 0.0, 3.0, 4.0]);
            assert_eq!(floats(&arena, 1, 1, 2..3)[1], [7.0, 8.0]);
            assert!(floats(&arena, 0, 0, 0..3)[0].iter().all(|&key| key == 0.0));
        }
    }

    #[test]
    fn bytes_are_those_of_the_planes() {
        let rows = 2 * 2 * 3;
        let bytes = |kv| KvShape { kv, ..SHAPE }.bytes();
        assert_eq!(bytes(KvType::F32), 2 * rows * 2 * 4);
        assert_eq!(bytes(KvType::F16), 2 * rows * 2 * 2);
        assert_eq!(bytes(KvType::Int8), 2 * rows * (2 + 4));
        assert_eq!(bytes(KvType::Auto), bytes(KvType::F16));
    }

    proptest! {
        /// Large values first, small ones over them: nothing of the old scale may stay.
        #[test]
        fn a_position_written_again_is_as_good_as_new(
            old in prop::collection::vec(-1e4f32..1e4, 16),
            new in prop::collection::vec(-1f32..1.0, 16),
        ) {
            for (kv, bound) in [
                (KvType::F32, 0.0), (KvType::F16, 1.0 / 2048.0), (KvType::Int8, 0.501 / 127.0),
            ] {
                let mut arena = KvArena::new(KvShape { kv, dim: 8, ..SHAPE });
                arena.write(Isa::detect(), 1, 1, &old, &old);
                arena.write(Isa::detect(), 1, 1, &new, &new);
                for head in 0..2 {
                    let want = &new[head * 8..(head + 1) * 8];
                    let largest = want.iter().fold(0f32, |largest, v| largest.max(v.abs()));
                    for side in floats(&arena, 1, head, 1..2) {
                        for (got, want) in side.iter().zip(want) {
                            prop_assert!((got - want).abs() <= bound * largest, "{kv:?}");
                        }
                    }
                }
            }
        }
    }
}
