//! The keys and values of one layer: fixed slots, filled in place.

use std::ops::Range;

/// Keys and values, each `[slot][kv_head][position][head_dim]`.
///
/// The pages are the system's zero pages until they are written, so a slot that is never used
/// costs nothing.
#[derive(Debug, Clone)]
pub(super) struct KvArena {
    kv_heads: usize,
    context: usize,
    head_dim: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvArena {
    /// Room for `context` positions in each of `slots` slots.
    pub fn new(slots: usize, kv_heads: usize, context: usize, head_dim: usize) -> Self {
        let len = slots * kv_heads * context * head_dim;
        Self { kv_heads, context, head_dim, keys: vec![0.0; len], values: vec![0.0; len] }
    }

    fn span(&self, slot: usize, head: usize, positions: Range<usize>) -> Range<usize> {
        let base = (slot * self.kv_heads + head) * self.context;
        (base + positions.start) * self.head_dim..(base + positions.end) * self.head_dim
    }

    /// Stores one position; `key` and `value` are `[kv_head][head_dim]`.
    pub fn write(&mut self, slot: usize, position: usize, key: &[f32], value: &[f32]) {
        for head in 0..self.kv_heads {
            let from = head * self.head_dim..(head + 1) * self.head_dim;
            let to = self.span(slot, head, position..position + 1);
            self.keys[to.clone()].copy_from_slice(&key[from.clone()]);
            self.values[to].copy_from_slice(&value[from]);
        }
    }

    /// Keys of some positions, `[positions][head_dim]`.
    pub fn keys(&self, slot: usize, head: usize, positions: Range<usize>) -> &[f32] {
        &self.keys[self.span(slot, head, positions)]
    }

    /// Values of some positions, `[positions][head_dim]`.
    pub fn values(&self, slot: usize, head: usize, positions: Range<usize>) -> &[f32] {
        &self.values[self.span(slot, head, positions)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_heads_and_positions_do_not_mix() {
        let mut arena = KvArena::new(2, 2, 3, 2);
        arena.write(1, 2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        assert_eq!(arena.keys(1, 0, 2..3), [1.0, 2.0]);
        assert_eq!(arena.keys(1, 1, 1..3), [0.0, 0.0, 3.0, 4.0]);
        assert_eq!(arena.values(1, 1, 2..3), [7.0, 8.0]);
        assert!(arena.keys(0, 0, 0..3).iter().all(|&key| key == 0.0));
    }
}
