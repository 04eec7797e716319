//! Cached keys and values as they are stored, and as floats in registers.
//!
//! Knows elements, rows and scales; nothing of slots, heads or softmax.

use crate::kernels::elementwise::largest_of;
use crate::kernels::half;
use crate::kernels::isa::multiversion;

/// Keys and values of consecutive positions of one KV head.
#[derive(Debug, Clone, Copy)]
pub enum Cached<'a> {
    /// As they were computed.
    F32(Rows<'a, f32>),
    /// Rounded to half precision.
    F16(Rows<'a, u16>),
    /// 8-bit codes: a key or value is its codes times its scale.
    Int8(Rows<'a, i8>),
}

/// The rows of a [`Cached`], one for each position.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    /// `[positions, head_dim]`
    pub keys: &'a [T],
    /// `[positions, head_dim]`
    pub values: &'a [T],
    /// `[positions]`, or empty where `T` needs no scale.
    pub key_scales: &'a [f32],
    /// `[positions]`, or empty where `T` needs no scale.
    pub value_scales: &'a [f32],
}

/// An element as it is stored.
pub(super) trait Element: Copy {
    /// As a float, without the row's scale.
    fn one(self) -> f32;

    /// Sixteen of them. `FAST` says that the code path has its CPU's conversions.
    #[inline(always)]
    fn sixteen<const FAST: bool>(from: &[Self; 16]) -> [f32; 16] {
        std::array::from_fn(|at| from[at].one())
    }
}

impl Element for f32 {
    #[inline(always)]
    fn one(self) -> f32 {
        self
    }
}

impl Element for i8 {
    #[inline(always)]
    fn one(self) -> f32 {
        f32::from(self)
    }
}

impl Element for u16 {
    #[inline(always)]
    fn one(self) -> f32 {
        half::to_f32(self)
    }

    #[inline(always)]
    fn sixteen<const FAST: bool>(from: &[Self; 16]) -> [f32; 16] {
        if FAST { half::sixteen_to_f32(from) } else { from.map(Self::one) }
    }
}

/// Writes `values` as symmetric 8-bit codes and returns their scale, one for the whole row: the
/// error of an element is at most half of it. All zeros have the scale 0.
///
/// # Panics
/// If the lengths differ.
pub fn quantise_row(isa: crate::kernels::Isa, values: &[f32], codes: &mut [i8]) -> f32 {
    assert_eq!(values.len(), codes.len());
    let mut scale = 0f32;
    quantise(isa, values, codes, &mut scale);
    scale
}

multiversion! {
    fn quantise(values: &[f32], codes: &mut [i8], scale: &mut f32) = quantise_generic
}

#[inline(always)]
fn quantise_generic<const FMA: bool>(values: &[f32], codes: &mut [i8], scale: &mut f32) {
    let largest = largest_of(values);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value * inverse).round_ties_even() as i8;
    }
    *scale = largest / 127.0;
}

/// Rounds `values` to half precision.
///
/// # Panics
/// If the lengths differ.
pub fn round_row(isa: crate::kernels::Isa, values: &[f32], halves: &mut [u16]) {
    assert_eq!(values.len(), halves.len());
    round(isa, values, halves);
}

multiversion! {
    fn round(values: &[f32], halves: &mut [u16]) = round_generic
}

#[inline(always)]
fn round_generic<const FMA: bool>(values: &[f32], halves: &mut [u16]) {
    let ((values, rest), (halves, rest_halves)) =
        (values.as_chunks::<16>(), halves.as_chunks_mut::<16>());
    for (half, value) in halves.iter_mut().zip(values) {
        *half = if FMA { half::sixteen_from_f32(value) } else { value.map(half::from_f32) };
    }
    for (half, value) in rest_halves.iter_mut().zip(rest) {
        *half = half::from_f32(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_are_within_half_a_scale(
            values in prop::collection::vec(-1e3f32..1e3, 1..80), small in any::<bool>(),
        ) {
            let values: Vec<f32> =
                values.iter().map(|v| if small { v * 1e-30 } else { *v }).collect();
            for isa in Isa::available() {
                let mut codes = vec![0i8; values.len()];
                let scale = quantise_row(isa, &values, &mut codes);
                for (code, value) in codes.iter().zip(&values) {
                    let off = (f32::from(*code) * scale - value).abs();
                    prop_assert!(off <= 0.5001 * scale, "{value} is off by {off}, scale {scale}");
                }
            }
        }
    }

    #[test]
    fn every_path_rounds_alike() {
        let values: Vec<f32> =
            (0..1000).map(|i| (i as f32 * 0.7).sin() * 10f32.powi(i % 12 - 8)).collect();
        let want: Vec<u16> = values.iter().map(|value| half::from_f32(*value)).collect();
        for isa in Isa::available() {
            let mut halves = vec![0u16; values.len()];
            round_row(isa, &values, &mut halves);
            assert_eq!(halves, want, "{isa:?}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut codes = [7i8; 5];
        assert_eq!(quantise_row(Isa::detect(), &[0.0; 5], &mut codes), 0.0);
        assert_eq!(codes, [0; 5]);
    }
}
