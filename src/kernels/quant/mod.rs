//! Products of block-quantised weights (4 or 8 bits) with activations quantised to 8 bits.
//!
//! Weights keep their file's codes, repacked once: 16 rows together, 32 columns a block, a scale
//! for each row and block, in half precision where that loses nothing. Activations get a symmetric
//! 8-bit code with one scale per block of the weights, as ONNX Runtime does for
//! `accuracy_level = 4`; the dot product of a block is exact integer arithmetic, so all code paths,
//! and ONNX Runtime, agree up to the rounding of the float sum.

mod acts;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use acts::Activations;
pub use matrix::{PackError, QuantMatrix, QuantSource};

use crate::kernels::pool::{Pool, Shards};
use crate::kernels::{GROUP, Isa};

/// Columns of a block.
pub const BLOCK: usize = 32;

/// The most activation rows of one tile.
const MAX_TILE: usize = 12;

/// The scales of one group of weight rows, `[blocks][16]`.
#[derive(Clone, Copy)]
enum Scales<'a> {
    Half(&'a [u16]),
    Single(&'a [f32]),
}

impl Scales<'_> {
    fn len(self) -> usize {
        match self {
            Self::Half(scales) => scales.len(),
            Self::Single(scales) => scales.len(),
        }
    }
}

/// What one call of a tile kernel reads: one group of weight rows, and `rows` activation rows.
struct Tile<'a> {
    /// Codes of the group, block after block.
    codes: &'a [u8],
    scales: Scales<'a>,
    /// Zero points, `[blocks][16]`; empty if all are `default_zero`.
    zeros: &'a [u8],
    default_zero: i32,
    /// Activation codes, `[rows][blocks * 32]`.
    acts: &'a [i8],
    /// Their scales, `[rows][blocks]`.
    act_scales: &'a [f32],
    /// The sums of their codes, `[rows][blocks]`.
    act_sums: &'a [i32],
    blocks: usize,
}

impl Tile<'_> {
    /// Panics unless every slice is long enough for `rows` rows of `bits`-bit codes; the kernels'
    /// unchecked loads rest on this.
    fn check(&self, rows: usize, bits: usize) {
        assert!(self.codes.len() >= self.blocks * GROUP * BLOCK * bits / 8);
        assert!(self.scales.len() >= self.blocks * GROUP);
        assert!(self.zeros.is_empty() || self.zeros.len() >= self.blocks * GROUP);
        assert!(self.acts.len() >= rows * self.blocks * BLOCK);
        assert!(self.act_scales.len() >= rows * self.blocks);
        assert!(self.act_sums.len() >= rows * self.blocks);
    }
}

type Sums = [[f32; GROUP]; MAX_TILE];

/// How many activation rows the kernel of `isa` takes at once, at most `left`.
fn tile_rows(isa: Isa, left: usize) -> usize {
    let sizes: &[usize] = match isa {
        Isa::Avx512Vnni => &[12, 8, 4, 2, 1],
        Isa::Avx2 | Isa::NeonDot | Isa::Neon | Isa::Scalar => &[4, 2, 1],
    };
    sizes.iter().copied().find(|&size| size <= left).unwrap_or(1)
}

fn run_tile(isa: Isa, bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    tile.check(rows, bits);
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => x86::avx512(bits, rows, tile, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2(bits, rows, tile, sums),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => neon::dot(bits, rows, tile, sums),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::plain(bits, rows, tile, sums),
        _ => scalar::tile(bits, rows, tile, sums),
    }
}

/// `out = acts x weights^T + bias`.
///
/// - `acts`: `[rows, k]`, quantised
/// - `bias`: `n` values, or empty
/// - `out`: `[rows, n]`
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(
    isa: Isa,
    pool: &Pool,
    weights: &QuantMatrix,
    acts: &Activations,
    bias: &[f32],
    out: &mut [f32],
) {
    let (n, blocks, rows) = (weights.n(), weights.blocks(), acts.rows());
    assert_eq!(acts.blocks(), blocks, "columns of weights and activations");
    assert_eq!(out.len(), rows * n, "output shape");
    assert!(bias.is_empty() || bias.len() == n, "bias shape");
    let groups = weights.groups();
    // Parts of some 256 KiB of weights: small enough to balance, large enough to be worth a claim.
    let part_groups = (256 * 1024 / weights.group_bytes().max(1)).clamp(1, groups);
    let even = groups.div_ceil(pool.threads());
    let part_groups = part_groups.min(even);
    let out = Shards::new(out);
    pool.run(groups.div_ceil(part_groups), &|part| {
        let first = part * part_groups;
        for group in first..(first + part_groups).min(groups) {
            let (start, width) = (group * GROUP, GROUP.min(n - group * GROUP));
            let mut row = 0;
            while row < rows {
                let count = tile_rows(isa, rows - row);
                let mut sums = [[0f32; GROUP]; MAX_TILE];
                run_tile(isa, weights.bits(), count, &weights.tile(group, acts, row), &mut sums);
                for (i, sums) in sums[..count].iter().enumerate() {
                    // SAFETY: each (row, group) is written by one part only.
                    let out = unsafe { out.range((row + i) * n + start, width) };
                    for (lane, out) in out.iter_mut().enumerate() {
                        let bias = bias.get(start + lane).copied().unwrap_or(0.0);
                        *out = sums[lane] * weights.factor() + bias;
                    }
                }
                row += count;
            }
        }
    });
}
