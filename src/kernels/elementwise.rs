//! Norms, activations and rotary embedding: one pass over a row.

use crate::kernels::isa::{madd, multiversion};

/// `e^x`, relative error below 2e-7; 0 below -87.3, about 3.3e38 above 88.3.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the mantissa.
    const MAGIC: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = madd::<FMA>(clamped, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts (Cody and Waite), then the polynomial of Cephes' expf.
    let r = madd::<FMA>(n, -0.693_359_4, clamped);
    let r = madd::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = madd::<FMA>(p, r, 1.398_199_9e-3);
    p = madd::<FMA>(p, r, 8.333_452e-3);
    p = madd::<FMA>(p, r, 4.166_579_6e-2);
    p = madd::<FMA>(p, r, 1.666_666_5e-1);
    p = madd::<FMA>(p, r, 0.5);
    p = madd::<FMA>(p * r, r, r) + 1.0;
    let result = p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { result }
}

/// The largest magnitude.
#[inline(always)]
pub(crate) fn largest_of(values: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.max(value.abs());
        }
    }
    let rest = rest.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    lanes.iter().fold(rest, |largest, lane| largest.max(*lane))
}

multiversion! {
    /// Root mean square norm of each row of `x`: `x / sqrt(mean(x^2) + epsilon) * weight`.
    ///
    /// `x` and `out` have the same shape, their rows the length of `weight`.
    pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) = rms_norm_generic
}

#[inline(always)]
fn rms_norm_generic<const FMA: bool>(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weight.len().max(1);
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mut squares = [0f32; 16];
        let (chunks, rest) = x.as_chunks::<16>();
        for chunk in chunks {
            for (square, x) in squares.iter_mut().zip(chunk) {
                *square = madd::<FMA>(*x, *x, *square);
            }
        }
        let sum: f32 = squares.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
        let scale = 1.0 / (sum / width as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

multiversion! {
    /// `out = a + b`.
    pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) = add_generic
}

#[inline(always)]
fn add_generic<const FMA: bool>(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}

multiversion! {
    /// The gated unit of Llama's MLP: `out = gate * sigmoid(gate) * up`.
    pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) = silu_mul_generic
}

#[inline(always)]
fn silu_mul_generic<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp::<FMA>(-gate)) * up;
    }
}

multiversion! {
    /// `out = x * sigmoid(alpha * x)`.
    pub fn quick_gelu(x: &[f32], alpha: f32, out: &mut [f32]) = quick_gelu_generic
}

#[inline(always)]
fn quick_gelu_generic<const FMA: bool>(x: &[f32], alpha: f32, out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x / (1.0 + exp::<FMA>(-alpha * x));
    }
}

/// Rotates the first `2 * cos.len()` elements of one head in place.
///
/// - `cos`, `sin`: the tables' row for this position, half as long as the rotated part
/// - `interleaved`: pairs are neighbours `(0, 1), (2, 3)`; else halves `(0, r), (1, r + 1)`
pub fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool) {
    let half = cos.len();
    if interleaved {
        for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(cos.iter().zip(sin)) {
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * cos - b * sin;
            pair[1] = a * sin + b * cos;
        }
        return;
    }
    let (first, second) = head.split_at_mut(half);
    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    #[test]
    fn exp_is_as_exact_as_a_float() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let want = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(got) - want).abs() <= 3e-7 * want, "exp({x}) = {got}");
            }
            x += 0.013;
        }
        assert_eq!(exp::<false>(-1000.0), 0.0);
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<false>(0.0), 1.0);
    }

    #[test]
    fn norms_and_gates_agree_with_their_definitions() {
        for width in [1, 8, 16, 33, 64] {
            let x: Vec<f32> = (0..3 * width).map(|i| (i as f32 * 0.7).sin() * 4.0).collect();
            let weight: Vec<f32> = (0..width).map(|i| 1.0 + i as f32 * 0.01).collect();
            for isa in Isa::available() {
                let mut out = vec![0f32; x.len()];
                rms_norm(isa, &x, &weight, 1e-5, &mut out);
                for row in 0..3 {
                    let row = row * width..(row + 1) * width;
                    let mean = x[row.clone()].iter().map(|x| x * x).sum::<f32>() / width as f32;
                    for (i, at) in row.enumerate() {
                        let want = x[at] / (mean + 1e-5).sqrt() * weight[i];
                        assert!((out[at] - want).abs() < 1e-5, "{isa:?}");
                    }
                }
                silu_mul(isa, &x, &x, &mut out);
                for (x, out) in x.iter().zip(&out) {
                    assert!((out - x * x / (1.0 + (-x).exp())).abs() < 1e-5, "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn a_rotation_keeps_the_length_and_knows_both_layouts() {
        let (cos, sin) = ([0.6f32, 0.8], [0.8f32, 0.6]);
        let mut halves = [1.0, 2.0, 3.0, 4.0, 9.0];
        rotate(&mut halves, &cos, &sin, false);
        assert_eq!(halves[4], 9.0, "beyond the rotary part nothing changes");
        assert!((halves[0] - (0.6 - 2.4)).abs() < 1e-6 && (halves[2] - (0.8 + 1.8)).abs() < 1e-6);
        let mut pairs = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut pairs, &cos, &sin, true);
        assert!((pairs[0] - (0.6 - 1.6)).abs() < 1e-6 && (pairs[1] - (0.8 + 1.2)).abs() < 1e-6);
    }
}
