//! `exp` for softmax: the same bits on every platform, in a form that compilers vectorise.

/// Beyond this a weight counts as zero: `exp(-87)` is 1.6e-38.
const LOWEST: f32 = -87.0;
/// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` for `x <= 0`, within 2 units in the last place; zero at and below -87, and for NaN.
///
/// Polynomial and range reduction of Cephes' `expf` (S. Moshier). Only additions and
/// multiplications in single precision, which IEEE 754 makes the same everywhere; the standard
/// library's `exp` differs between platforms.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // False for NaN.
    let counts = x > LOWEST;
    let x = if counts { x } else { LOWEST };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    let power = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let scale = f32::from_bits((power.wrapping_add(127) as u32) << 23);
    // A mask instead of a branch: compilers vectorise it.
    f32::from_bits((y * scale).to_bits() & (counts as u32).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_close_to_the_real_one() {
        let mut worst = 0.0f64;
        for i in 0..870_000 {
            let x = -(i as f32) / 10_000.0;
            let want = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - want) / want).abs());
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-87.0), exp(f32::NEG_INFINITY), exp(f32::NAN)], [0.0; 3]);
    }
}
