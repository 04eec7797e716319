//! Attention of one query position over the cached keys and values of one KV head.

use crate::kernels::elementwise::exp;
use crate::kernels::isa::{madd, multiversion};

/// What is the same for every query of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Elements of one head.
    pub head_dim: usize,
    /// What scores are multiplied with, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Scores become `softcap * tanh(score / softcap)`; 0 for none.
    pub softcap: f32,
}

multiversion! {
    /// The query heads of one position that share a KV head.
    ///
    /// - `queries`, `out`: `[group, head_dim]`
    /// - `keys`, `values`: `[visible, head_dim]`, at least one position
    /// - `scores`: scratch of at least `visible` elements
    pub fn attend(
        attention: &Attention,
        queries: &[f32],
        keys: &[f32],
        values: &[f32],
        scores: &mut [f32],
        out: &mut [f32],
    ) = attend_generic
}

#[inline(always)]
fn attend_generic<const FMA: bool>(
    attention: &Attention,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let dim = attention.head_dim.max(1);
    let scores = &mut scores[..keys.len() / dim];
    for (query, out) in queries.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(dim)) {
            *score = dot::<FMA>(query, key) * attention.scale;
        }
        if attention.softcap > 0.0 {
            for score in scores.iter_mut() {
                *score = attention.softcap * (*score / attention.softcap).tanh();
            }
        }
        let norm = 1.0 / softmax_terms::<FMA>(scores);
        let mut at = 0;
        while at < dim {
            // As many elements as registers hold; a row of any length ends in the last line.
            at += match dim - at {
                64.. => mix::<FMA, 64>(scores, values, norm, dim, at, out),
                16.. => mix::<FMA, 16>(scores, values, norm, dim, at, out),
                8.. => mix::<FMA, 8>(scores, values, norm, dim, at, out),
                _ => mix::<FMA, 1>(scores, values, norm, dim, at, out),
            };
        }
    }
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = madd::<FMA>(*a, *b, *sum);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = madd::<FMA>(*a, *b, *sum);
    }
    // Pairwise, so that the additions are vectors too.
    let eight: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Turns scores into `e^(score - largest)` and returns their sum.
#[inline(always)]
fn softmax_terms<const FMA: bool>(scores: &mut [f32]) -> f32 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp::<FMA>(*score - largest);
    }
    let mut sums = [0f32; 16];
    let (chunks, rest) = scores.as_chunks::<16>();
    for chunk in chunks {
        for (sum, term) in sums.iter_mut().zip(chunk) {
            *sum += term;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Elements `at..at + WIDTH` of the weighted mean of the values; returns `WIDTH`.
#[inline(always)]
fn mix<const FMA: bool, const WIDTH: usize>(
    weights: &[f32],
    values: &[f32],
    norm: f32,
    dim: usize,
    at: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = [0f32; WIDTH];
    for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
        for (sum, value) in sums.iter_mut().zip(&value[at..at + WIDTH]) {
            *sum = madd::<FMA>(*weight, *value, *sum);
        }
    }
    for (out, sum) in out[at..at + WIDTH].iter_mut().zip(sums) {
        *out = sum * norm;
    }
    WIDTH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Isa;

    fn reference(a: &Attention, query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let scores: Vec<f64> = keys
            .chunks(a.head_dim)
            .map(|key| {
                let dot: f64 =
                    query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                let score = dot * f64::from(a.scale);
                let cap = f64::from(a.softcap);
                if cap > 0.0 { cap * (score / cap).tanh() } else { score }
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let terms: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = terms.iter().sum();
        let mut out = vec![0f64; a.head_dim];
        for (term, value) in terms.iter().zip(values.chunks(a.head_dim)) {
            for (out, value) in out.iter_mut().zip(value) {
                *out += term / sum * f64::from(*value);
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_path_agrees_with_the_definition(
            head_dim in prop::sample::select(vec![1usize, 5, 8, 16, 24, 48, 64, 80, 128, 256]),
            group in 1usize..5, visible in 1usize..70, capped in any::<bool>(),
        ) {
            let attention =
                Attention { head_dim, scale: 0.3, softcap: if capped { 20.0 } else { 0.0 } };
            let wave = |count: usize, step: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * step).sin()).collect()
            };
            let queries = wave(group * head_dim, 0.37);
            let (keys, values) = (wave(visible * head_dim, 1.7), wave(visible * head_dim, 0.91));
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; group * head_dim];
                let mut scores = vec![0f32; visible + 3];
                attend(isa, &attention, &queries, &keys, &values, &mut scores, &mut out);
                for head in 0..group {
                    let head = head * head_dim..(head + 1) * head_dim;
                    let want = reference(&attention, &queries[head.clone()], &keys, &values);
                    for (got, want) in out[head].iter().zip(want) {
                        prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{:?}", isa);
                    }
                }
            }
        }
    }
}
