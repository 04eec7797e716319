//! Tile kernels for x86-64: AVX-512 VNNI, and AVX2.
//!
//! A register holds 16 (AVX-512) or 8 (AVX2) weight rows, 4 columns of each; `dpbusd` or
//! `maddubs` + `madd` multiply them with 4 activations that are the same for all rows.

use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, compiler_fence};

use super::{BLOCK, GROUP, Scales, Sums, Tile};

/// The body once for each row, written out: a loop over 12 rows keeps its sums in memory instead of
/// registers.
macro_rules! unrolled {
    ($rows:ident, $row:ident, $body:block) => {
        unrolled!(@ $rows, $row, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $rows:ident, $row:ident, $body:block, $($index:literal)*) => {
        $(
            if $index < $rows {
                let $row: usize = $index;
                $body
            }
        )*
    };
}

/// AVX-512 VNNI; `rows` is 1, 2, 4, 8 or 12.
pub(super) fn avx512(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    macro_rules! pick {
        ($($rows:literal)*) => {
            match (bits, rows, tile.zeros.is_empty()) {
                $(
                    // SAFETY: `Isa::Avx512Vnni` exists only where the CPU has these features, and
                    // `Tile::check` was called for these rows and bits.
                    (4, $rows, true) => unsafe { tile_avx512::<4, $rows, false>(tile, sums) },
                    // SAFETY: as above.
                    (4, $rows, false) => unsafe { tile_avx512::<4, $rows, true>(tile, sums) },
                    // SAFETY: as above.
                    (8, $rows, true) => unsafe { tile_avx512::<8, $rows, false>(tile, sums) },
                    // SAFETY: as above.
                    (8, $rows, false) => unsafe { tile_avx512::<8, $rows, true>(tile, sums) },
                )*
                _ => unreachable!("no kernel for {bits} bits, {rows} rows"),
            }
        };
    }
    pick!(1 2 4 8 12)
}

/// # Safety
/// The slices of `tile` must hold `ROWS` rows of `BITS`-bit codes, as `Tile::check` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile_avx512<const BITS: usize, const ROWS: usize, const ZEROS: bool>(
    tile: &Tile<'_>,
    sums: &mut Sums,
) {
    let block_bytes = GROUP * BLOCK * BITS / 8;
    let low = _mm512_set1_epi8(15);
    let mut total = [_mm512_setzero_ps(); ROWS];
    for block in 0..tile.blocks {
        let mut codes = [_mm512_setzero_si512(); 8];
        // SAFETY: `Tile::check` asserted the length of every slice that is read in this loop.
        let (scales, zeros) = unsafe {
            let at = tile.codes.as_ptr().add(block * block_bytes);
            for (quad, codes) in codes.iter_mut().enumerate() {
                *codes = if BITS == 8 {
                    _mm512_loadu_si512(at.add(quad * 64).cast())
                } else {
                    let pair = _mm512_loadu_si512(at.add(quad / 2 * 64).cast());
                    let pair = if quad % 2 == 0 { pair } else { _mm512_srli_epi16::<4>(pair) };
                    _mm512_and_si512(pair, low)
                };
            }
            let scales = match tile.scales {
                Scales::Half(scales) => {
                    let scales = scales.as_ptr().add(block * GROUP).cast();
                    _mm512_cvtph_ps(_mm256_loadu_si256(scales))
                }
                Scales::Single(scales) => _mm512_loadu_ps(scales.as_ptr().add(block * GROUP)),
            };
            let zeros = if ZEROS {
                let zeros = tile.zeros.as_ptr().add(block * GROUP).cast();
                _mm512_cvtepu8_epi32(_mm_loadu_si128(zeros))
            } else {
                _mm512_setzero_si512()
            };
            (scales, zeros)
        };
        unrolled!(ROWS, row, {
            let at = row * tile.blocks + block;
            // SAFETY: as above.
            let (acts, scale, sum) = unsafe {
                let acts: *const i32 = tile.acts.as_ptr().add(at * BLOCK).cast();
                (acts, *tile.act_scales.get_unchecked(at), *tile.act_sums.get_unchecked(at))
            };
            let mut even = if ZEROS {
                _mm512_mullo_epi32(zeros, _mm512_set1_epi32(-sum))
            } else {
                _mm512_set1_epi32(-tile.default_zero * sum)
            };
            let mut odd = _mm512_setzero_si512();
            for quad in 0..4 {
                // SAFETY: as above.
                let (a, b) = unsafe {
                    let pair = acts.add(2 * quad);
                    (pair.read_unaligned(), pair.add(1).read_unaligned())
                };
                even = _mm512_dpbusd_epi32(even, codes[2 * quad], _mm512_set1_epi32(a));
                odd = _mm512_dpbusd_epi32(odd, codes[2 * quad + 1], _mm512_set1_epi32(b));
            }
            let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            let scale = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
            total[row] = _mm512_fmadd_ps(dot, scale, total[row]);
            // Keeps the compiler from mixing the rows' instructions, which would not leave enough
            // registers; it costs no instruction.
            compiler_fence(Ordering::SeqCst);
        });
    }
    for (sums, total) in sums.iter_mut().zip(total) {
        // SAFETY: a row of `sums` is 16 floats.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), total) };
    }
}

/// AVX2; `rows` is 1, 2 or 4.
pub(super) fn avx2(bits: usize, rows: usize, tile: &Tile<'_>, sums: &mut Sums) {
    macro_rules! pick {
        ($($rows:literal)*) => {
            match (bits, rows) {
                $(
                    // SAFETY: `Isa::Avx2` exists only where the CPU has these features, and
                    // `Tile::check` was called for these rows and bits.
                    (4, $rows) => unsafe { tile_avx2::<4, $rows>(tile, sums) },
                    // SAFETY: as above.
                    (8, $rows) => unsafe { tile_avx2::<8, $rows>(tile, sums) },
                )*
                _ => unreachable!("no kernel for {bits} bits, {rows} rows"),
            }
        };
    }
    pick!(1 2 4)
}

/// # Safety
/// The slices of `tile` must hold `ROWS` rows of `BITS`-bit codes, as `Tile::check` asserts.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_avx2<const BITS: usize, const ROWS: usize>(tile: &Tile<'_>, sums: &mut Sums) {
    let block_bytes = GROUP * BLOCK * BITS / 8;
    let low = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    for side in 0..2 {
        let mut total = [_mm256_setzero_ps(); ROWS];
        for block in 0..tile.blocks {
            let mut dots = [_mm256_setzero_si256(); ROWS];
            // SAFETY: `Tile::check` asserted the length of every slice that is read in this loop.
            let codes = unsafe { tile.codes.as_ptr().add(block * block_bytes + side * 32) };
            if BITS == 4 {
                // 16-bit sums suffice for a block: 8 pairs of 15 * 127 are 30,480.
                for pair in 0..4 {
                    // SAFETY: as above.
                    let both = unsafe { _mm256_loadu_si256(codes.add(pair * 64).cast()) };
                    let first = _mm256_and_si256(both, low);
                    let second = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                    for (row, dot) in dots.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let (a, b) = unsafe { quads(tile, row, block, 2 * pair) };
                        let a = _mm256_maddubs_epi16(first, _mm256_set1_epi32(a));
                        let b = _mm256_maddubs_epi16(second, _mm256_set1_epi32(b));
                        *dot = _mm256_add_epi16(*dot, _mm256_add_epi16(a, b));
                    }
                }
                for dot in &mut dots {
                    *dot = _mm256_madd_epi16(*dot, ones);
                }
            } else {
                // `maddubs` saturates on unsigned codes above 128, so codes are made signed (their
                // offset is added to the zero point below) and the sign moves to the activation.
                let offset = _mm256_set1_epi8(-128);
                for quad in 0..8 {
                    // SAFETY: as above.
                    let code = unsafe { _mm256_loadu_si256(codes.add(quad * 64).cast()) };
                    let code = _mm256_xor_si256(code, offset);
                    let size = _mm256_abs_epi8(code);
                    for (row, dot) in dots.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let (a, b) = unsafe { quads(tile, row, block, quad & !1) };
                        let act = _mm256_set1_epi32(if quad % 2 == 0 { a } else { b });
                        let act = _mm256_sign_epi8(act, code);
                        let pairs = _mm256_maddubs_epi16(size, act);
                        *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            // SAFETY: as above.
            let (scales, zeros) = unsafe {
                let at = block * GROUP + side * 8;
                let scales = match tile.scales {
                    Scales::Half(scales) => {
                        _mm256_cvtph_ps(_mm_loadu_si128(scales.as_ptr().add(at).cast()))
                    }
                    Scales::Single(scales) => _mm256_loadu_ps(scales.as_ptr().add(at)),
                };
                let zeros = if tile.zeros.is_empty() {
                    _mm256_set1_epi32(tile.default_zero)
                } else {
                    let zeros = tile.zeros.as_ptr().add(at).cast();
                    _mm256_cvtepu8_epi32(_mm_loadl_epi64(zeros))
                };
                (scales, zeros)
            };
            let zeros =
                if BITS == 8 { _mm256_sub_epi32(zeros, _mm256_set1_epi32(128)) } else { zeros };
            for (row, (dot, total)) in dots.iter().zip(&mut total).enumerate() {
                let at = row * tile.blocks + block;
                // SAFETY: as above.
                let (scale, sum) = unsafe {
                    (*tile.act_scales.get_unchecked(at), *tile.act_sums.get_unchecked(at))
                };
                let shift = _mm256_mullo_epi32(zeros, _mm256_set1_epi32(sum));
                let dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(*dot, shift));
                *total = _mm256_fmadd_ps(dot, _mm256_mul_ps(scales, _mm256_set1_ps(scale)), *total);
            }
        }
        for (sums, total) in sums.iter_mut().zip(total) {
            // SAFETY: half a row of `sums` is 8 floats.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr().add(side * 8), total) };
        }
    }
}

/// Activations `quad * 4..` and the next four of a row's block, each four as one integer.
///
/// # Safety
/// The row, block and quads must exist.
#[inline(always)]
unsafe fn quads(tile: &Tile<'_>, row: usize, block: usize, quad: usize) -> (i32, i32) {
    // SAFETY: the caller's promise.
    unsafe {
        let acts: *const i32 =
            tile.acts.as_ptr().add((row * tile.blocks + block) * BLOCK + quad * 4).cast();
        (acts.read_unaligned(), acts.add(1).read_unaligned())
    }
}
