//! The reference: what every other code path must compute.

use super::{BLOCK, GROUP, Scales, Sums, Tile};
use crate::kernels::half;

/// Adds up `rows` rows of a tile.
pub(super) fn tile(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    let block_bytes = BLOCK * bits / 8;
    for block in 0..tile.blocks {
        let codes = &tile.codes[block * GROUP * block_bytes..][..GROUP * block_bytes];
        for (row, sums) in sums[..rows].iter_mut().enumerate() {
            let at = row * tile.blocks + block;
            let acts = &tile.acts[at * BLOCK..][..BLOCK];
            for (lane, sum) in sums.iter_mut().enumerate() {
                let zero = match tile.zeros.get(block * GROUP + lane) {
                    Some(&zero) => i32::from(zero),
                    None => tile.default_zero,
                };
                let mut dot = -zero * tile.act_sums[at];
                for (quad, acts) in acts.chunks_exact(4).enumerate() {
                    for (byte, act) in acts.iter().enumerate() {
                        let code = if bits == 8 {
                            codes[quad * 4 * GROUP + lane * 4 + byte]
                        } else {
                            let pair = codes[quad / 2 * 4 * GROUP + lane * 4 + byte];
                            if quad % 2 == 0 { pair & 15 } else { pair >> 4 }
                        };
                        dot += i32::from(code) * i32::from(*act);
                    }
                }
                let scale = match tile.scales {
                    Scales::Half(scales) => half::to_f32(scales[block * GROUP + lane]),
                    Scales::Single(scales) => scales[block * GROUP + lane],
                };
                *sum += dot as f32 * (scale * tile.act_scales[at]);
            }
        }
    }
}
