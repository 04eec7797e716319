//! Activations with 8-bit codes.

use super::BLOCK;
use crate::kernels::Isa;
use crate::kernels::elementwise::largest_of;
use crate::kernels::isa::multiversion;

/// Rows of activations with symmetric 8-bit codes.
#[derive(Debug, Default)]
pub struct Activations {
    rows: usize,
    blocks: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Activations {
    /// Quantises `rows` rows of `k` columns, with one scale for each `group` columns (a multiple of
    /// 32); keeps its buffers from call to call.
    ///
    /// # Panics
    /// If `values` has not `rows * k` elements.
    pub fn quantise(&mut self, isa: Isa, values: &[f32], rows: usize, k: usize, group: usize) {
        assert_eq!(values.len(), rows * k);
        assert!(group >= BLOCK && group.is_multiple_of(BLOCK));
        self.rows = rows;
        self.blocks = k.div_ceil(BLOCK);
        self.codes.resize(rows * self.blocks * BLOCK, 0);
        self.scales.resize(rows * self.blocks, 0.0);
        self.sums.resize(rows * self.blocks, 0);
        quantise_rows(isa, values, (k, group), &mut self.codes, &mut self.scales, &mut self.sums);
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Codes of the rows from `row` on, `[rows][blocks * 32]`.
    pub fn codes(&self, row: usize) -> &[i8] {
        &self.codes[row * self.blocks * BLOCK..]
    }

    /// Scales of the rows from `row` on, `[rows][blocks]`.
    pub fn scales(&self, row: usize) -> &[f32] {
        &self.scales[row * self.blocks..]
    }

    /// Sums of the codes of each block from `row` on, `[rows][blocks]`.
    pub fn sums(&self, row: usize) -> &[i32] {
        &self.sums[row * self.blocks..]
    }

    /// Bytes of the buffers.
    pub fn bytes(&self) -> usize {
        self.codes.capacity() + 4 * (self.scales.capacity() + self.sums.capacity())
    }
}

multiversion! {
    fn quantise_rows(
        values: &[f32],
        shape: (usize, usize),
        codes: &mut [i8],
        scales: &mut [f32],
        sums: &mut [i32],
    ) = quantise_rows_generic
}

#[inline(always)]
fn quantise_rows_generic<const FMA: bool>(
    values: &[f32],
    (k, group): (usize, usize),
    codes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    let blocks = k.div_ceil(BLOCK);
    for (row, values) in values.chunks_exact(k.max(1)).enumerate() {
        let mut largest = 0f32;
        for (block, part) in values.chunks(BLOCK).enumerate() {
            let at = row * blocks + block;
            let start = block * BLOCK;
            if start.is_multiple_of(group) {
                largest = largest_of(&values[start..values.len().min(start + group)]);
            }
            let mut padded = [0f32; BLOCK];
            padded[..part.len()].copy_from_slice(part);
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut sum = 0i32;
            let mut block_codes = [0i32; BLOCK];
            for (code, value) in block_codes.iter_mut().zip(padded) {
                // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits.
                let bits = (value * inverse + 12_582_912.0).to_bits();
                *code = bits as i32 - 0x4b40_0000;
                sum += *code;
            }
            let codes = &mut codes[at * BLOCK..(at + 1) * BLOCK];
            for (code, value) in codes.iter_mut().zip(block_codes) {
                *code = value as i8;
            }
            scales[at] = largest / 127.0;
            sums[at] = sum;
        }
    }
}
