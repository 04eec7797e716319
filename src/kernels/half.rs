//! IEEE half precision as a storage format: conversion by bits, for every CPU.

/// A half-precision number as a float; exact.
#[inline(always)]
pub fn to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let rest = u32::from(half & 0x7fff);
    let magnitude = if rest >= 0x7c00 {
        f32::from_bits(0x7f80_0000 | ((rest & 0x3ff) << 13))
    } else {
        // The multiplication moves the exponent's bias and normalises subnormals.
        f32::from_bits(rest << 13) * f32::from_bits(0x7780_0000)
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// Sixteen of them, with the CPU's own conversion where its code path has one.
///
/// Only for code paths of [`crate::kernels::Isa`] that fuse multiplications: on x86-64 those have
/// F16C.
#[inline(always)]
pub(crate) fn sixteen_to_f32(halves: &[u16; 16]) -> [f32; 16] {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
        let mut wide = [0f32; 16];
        for (wide, halves) in wide.chunks_exact_mut(8).zip(halves.chunks_exact(8)) {
            // SAFETY: eight elements on either side, and the caller's code path has F16C.
            unsafe {
                let halves = _mm_loadu_si128(halves.as_ptr().cast());
                _mm256_storeu_ps(wide.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        wide
    }
    #[cfg(not(target_arch = "x86_64"))]
    halves.map(to_f32)
}

/// The nearest half-precision numbers of sixteen; for the same code paths as [`sixteen_to_f32`].
#[inline(always)]
pub(crate) fn sixteen_from_f32(values: &[f32; 16]) -> [u16; 16] {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_storeu_si128, _mm256_cvtps_ph, _mm256_loadu_ps};
        let mut halves = [0u16; 16];
        for (halves, values) in halves.chunks_exact_mut(8).zip(values.chunks_exact(8)) {
            // SAFETY: eight elements on either side, and the caller's code path has F16C.
            unsafe {
                // 0: to nearest, ties to even.
                let rounded = _mm256_cvtps_ph::<0>(_mm256_loadu_ps(values.as_ptr()));
                _mm_storeu_si128(halves.as_mut_ptr().cast(), rounded);
            }
        }
        halves
    }
    #[cfg(not(target_arch = "x86_64"))]
    values.map(from_f32)
}

/// The nearest half-precision number, ties to even; too large becomes infinite.
pub fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    let rounded = if magnitude < 0x3880_0000 {
        // Subnormal: adding 0.5 aligns the mantissa to units of 2^-24.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0x3f00_0000
    } else {
        let odd = (magnitude >> 13) & 1;
        (magnitude - 0x3800_0000 + 0xfff + odd) >> 13
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_round_trip() {
        for half in 0..=u16::MAX {
            let value = to_f32(half);
            if value.is_nan() {
                assert!(to_f32(from_f32(value)).is_nan());
            } else {
                assert_eq!(from_f32(value), half, "{value}");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(to_f32(0x3c00), 1.0);
        assert_eq!(to_f32(0xc000), -2.0);
        assert_eq!(to_f32(0x0001), 2f32.powi(-24));
        assert_eq!(from_f32(65504.0), 0x7bff);
        assert_eq!(from_f32(65520.0), 0x7c00);
        assert_eq!(from_f32(1.0 + 2f32.powi(-11)), 0x3c00, "ties go to even");
    }
}
