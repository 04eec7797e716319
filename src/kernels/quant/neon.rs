//! Tile kernels for aarch64: with the dot product instruction, and without.
//!
//! A register holds 4 weight rows, 4 columns of each; a group of 16 rows is 4 registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{BLOCK, GROUP, Scales, Sums, Tile};
use crate::kernels::half;

/// With `sdot`; `rows` is 1, 2 or 4.
pub(super) fn dot(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    pick::<true>(bits, rows, tile, sums);
}

/// Without `sdot`; `rows` is 1, 2 or 4.
pub(super) fn plain(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    pick::<false>(bits, rows, tile, sums);
}

fn pick<const DOT: bool>(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    macro_rules! pick {
        ($($rows:literal)*) => {
            match (bits, rows) {
                $(
                    // SAFETY: `Isa::NeonDot` (`DOT`) exists only where the CPU has `sdot`, NEON is
                    // part of aarch64, and `Tile::check` was called for these rows and bits.
                    (4, $rows) => unsafe { tile_neon::<4, $rows, DOT>(tile, sums) },
                    // SAFETY: as above.
                    (8, $rows) => unsafe { tile_neon::<8, $rows, DOT>(tile, sums) },
                )*
                _ => unreachable!("no kernel for {bits} bits, {rows} rows"),
            }
        };
    }
    pick!(1 2 4)
}

/// # Safety
/// The slices of `tile` must hold `ROWS` rows of `BITS`-bit codes, as `Tile::check` asserts, and
/// the CPU must have `sdot` if `DOT`.
#[inline(always)]
unsafe fn tile_neon<const BITS: usize, const ROWS: usize, const DOT: bool>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    let block_bytes = GROUP * BLOCK * BITS / 8;
    // SAFETY: `Tile::check` asserted the length of every slice that is read here, and a row of
    // `sums` is 16 floats.
    unsafe {
        for side in 0..4 {
            let mut total = [vdupq_n_f32(0.0); ROWS];
            for block in 0..tile.blocks {
                let codes = tile.codes.as_ptr().add(block * block_bytes + side * 16);
                let mut dots = [vdupq_n_s32(0); ROWS];
                for quad in 0..8 {
                    let code = if BITS == 8 {
                        // Signed; the offset is added to the zero point below.
                        veorq_u8(vld1q_u8(codes.add(quad * 64)), vdupq_n_u8(128))
                    } else {
                        let pair = vld1q_u8(codes.add(quad / 2 * 64));
                        if quad % 2 == 0 {
                            vandq_u8(pair, vdupq_n_u8(15))
                        } else {
                            vshrq_n_u8::<4>(pair)
                        }
                    };
                    for (row, dot) in dots.iter_mut().enumerate() {
                        let at = (row * tile.blocks + block) * BLOCK + quad * 4;
                        let act: *const i32 = tile.acts.as_ptr().add(at).cast();
                        let act = vreinterpretq_s8_s32(vdupq_n_s32(act.read_unaligned()));
                        *dot = dot4::<DOT>(*dot, vreinterpretq_s8_u8(code), act);
                    }
                }
                let at = block * GROUP + side * 4;
                let scales = match tile.scales {
                    Scales::Half(scales) => {
                        let scales =
                            [0, 1, 2, 3].map(|lane| half::to_f32(*scales.get_unchecked(at + lane)));
                        vld1q_f32(scales.as_ptr())
                    }
                    Scales::Single(scales) => vld1q_f32(scales.as_ptr().add(at)),
                };
                let zeros = if tile.zeros.is_empty() {
                    vdupq_n_s32(tile.default_zero)
                } else {
                    let zeros = tile.zeros.as_ptr().add(at);
                    let zeros = [0, 1, 2, 3].map(|lane| i32::from(*zeros.add(lane)));
                    vld1q_s32(zeros.as_ptr())
                };
                let zeros = if BITS == 8 { vsubq_s32(zeros, vdupq_n_s32(128)) } else { zeros };
                for (row, (dot, total)) in dots.iter().zip(&mut total).enumerate() {
                    let at = row * tile.blocks + block;
                    let sum = *tile.act_sums.get_unchecked(at);
                    let scale = vmulq_n_f32(scales, *tile.act_scales.get_unchecked(at));
                    let dot = vcvtq_f32_s32(vmlsq_n_s32(*dot, zeros, sum));
                    *total = vfmaq_f32(*total, dot, scale);
                }
            }
            for (sums, total) in sums.iter_mut().zip(total) {
                vst1q_f32(sums.as_mut_ptr().add(side * 4), total);
            }
        }
    }
}

/// Adds to each of 4 sums the dot product of 4 codes and 4 activations.
///
/// # Safety
/// The CPU must have `sdot` if `DOT`.
#[inline(always)]
unsafe fn dot4<const DOT: bool>(sum: int32x4_t, code: int8x16_t, act: int8x16_t) -> int32x4_t {
    if DOT {
        let mut sum = sum;
        // SAFETY: the instruction only reads and writes these registers. It is written as assembly
        // because the intrinsic is not stable.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {code:v}.16b, {act:v}.16b",
                sum = inout(vreg) sum,
                code = in(vreg) code,
                act = in(vreg) act,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        return sum;
    }
    // SAFETY: NEON is part of aarch64.
    unsafe {
        let first = vmull_s8(vget_low_s8(code), vget_low_s8(act));
        let second = vmull_high_s8(code, act);
        vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(first), vpaddlq_s16(second)))
    }
}
