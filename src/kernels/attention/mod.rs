//! Attention of one query position over the cached keys and values of one KV head.

mod cached;

pub use cached::{Cached, Rows, quantise_row, round_row};

use cached::Element;

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
    /// - `cached`: the positions that the queries see, at least one
    /// - `scores`: scratch of at least `group * positions` elements
    pub fn attend(
        attention: &Attention,
        queries: &[f32],
        cached: Cached<'_>,
        scores: &mut [f32],
        out: &mut [f32],
    ) = attend_generic
}

#[inline(always)]
fn attend_generic<const FMA: bool>(
    attention: &Attention,
    queries: &[f32],
    cached: Cached<'_>,
    scores: &mut [f32],
    out: &mut [f32],
) {
    match cached {
        Cached::F32(rows) => attend_rows::<FMA, f32>(attention, queries, rows, scores, out),
        Cached::F16(rows) => attend_rows::<FMA, u16>(attention, queries, rows, scores, out),
        Cached::Int8(rows) => attend_rows::<FMA, i8>(attention, queries, rows, scores, out),
    }
}

/// Heads in groups of up to four, so that a key or value is read and widened once for all of them.
#[inline(always)]
fn attend_rows<const FMA: bool, T: Element>(
    attention: &Attention,
    queries: &[f32],
    rows: Rows<'_, T>,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let dim = attention.head_dim.max(1);
    let (mut queries, mut out) = (queries, out);
    while !queries.is_empty() {
        let heads = match queries.len() / dim {
            4.. => attend_heads::<FMA, T, 4>(attention, queries, rows, scores, out),
            3 => attend_heads::<FMA, T, 3>(attention, queries, rows, scores, out),
            2 => attend_heads::<FMA, T, 2>(attention, queries, rows, scores, out),
            _ => attend_heads::<FMA, T, 1>(attention, queries, rows, scores, out),
        };
        (queries, out) = (&queries[heads * dim..], &mut out[heads * dim..]);
    }
}

/// The first `HEADS` heads; returns how many that are.
#[inline(always)]
fn attend_heads<const FMA: bool, T: Element, const HEADS: usize>(
    attention: &Attention,
    queries: &[f32],
    rows: Rows<'_, T>,
    scores: &mut [f32],
    out: &mut [f32],
) -> usize {
    let dim = attention.head_dim.max(1);
    let positions = rows.keys.len() / dim;
    let scores = &mut scores[..HEADS * positions];
    dots::<FMA, T, HEADS>(&queries[..HEADS * dim], rows.keys, dim, scores);
    let mut norms = [0f32; HEADS];
    for (scores, norm) in scores.chunks_exact_mut(positions).zip(&mut norms) {
        scale_by(scores, rows.key_scales);
        scores.iter_mut().for_each(|score| *score *= attention.scale);
        if attention.softcap > 0.0 {
            for score in scores.iter_mut() {
                *score = attention.softcap * (*score / attention.softcap).tanh();
            }
        }
        *norm = 1.0 / softmax_terms::<FMA>(scores);
        scale_by(scores, rows.value_scales);
    }
    let mut at = 0;
    while at < dim {
        // As many elements as registers hold; a row of any length ends in the last line.
        at += match dim - at {
            32.. => mix::<FMA, T, HEADS, 2>(scores, rows.values, &norms, dim, at, out),
            16.. => mix::<FMA, T, HEADS, 1>(scores, rows.values, &norms, dim, at, out),
            8.. => mix_rest::<FMA, T, 8>(scores, rows.values, &norms, dim, at, out),
            _ => mix_rest::<FMA, T, 1>(scores, rows.values, &norms, dim, at, out),
        };
    }
    HEADS
}

/// Multiplies each element with its scale, if there are scales.
#[inline(always)]
fn scale_by(scores: &mut [f32], scales: &[f32]) {
    scores.iter_mut().zip(scales).for_each(|(score, scale)| *score *= scale);
}

/// Products of `HEADS` queries with every key: `scores` is `[HEADS, positions]`.
#[inline(always)]
fn dots<const FMA: bool, T: Element, const HEADS: usize>(
    queries: &[f32],
    keys: &[T],
    dim: usize,
    scores: &mut [f32],
) {
    let positions = keys.len() / dim;
    let queries: [_; HEADS] =
        std::array::from_fn(|head| queries[head * dim..(head + 1) * dim].as_chunks::<16>());
    for (position, key) in keys.chunks_exact(dim).enumerate() {
        let mut sums = [[0f32; 16]; HEADS];
        let (key, rest) = key.as_chunks::<16>();
        for (chunk, key) in key.iter().enumerate() {
            let key = T::sixteen::<FMA>(key);
            for (sums, (query, _)) in sums.iter_mut().zip(&queries) {
                for ((sum, query), key) in sums.iter_mut().zip(&query[chunk]).zip(&key) {
                    *sum = madd::<FMA>(*query, *key, *sum);
                }
            }
        }
        for (head, (sums, (_, query))) in sums.iter_mut().zip(&queries).enumerate() {
            for ((sum, query), key) in sums.iter_mut().zip(*query).zip(rest) {
                *sum = madd::<FMA>(*query, key.one(), *sum);
            }
            scores[head * positions + position] = sum_of(sums);
        }
    }
}

/// Pairwise, so that the additions are vectors too.
#[inline(always)]
fn sum_of(sums: &[f32; 16]) -> f32 {
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

/// `CHUNKS * 16` elements from `at` on of the weighted means of the values; returns their number.
#[inline(always)]
fn mix<const FMA: bool, T: Element, const HEADS: usize, const CHUNKS: usize>(
    weights: &[f32],
    values: &[T],
    norms: &[f32; HEADS],
    dim: usize,
    at: usize,
    out: &mut [f32],
) -> usize {
    let positions = values.len() / dim;
    let weights: [&[f32]; HEADS] =
        std::array::from_fn(|head| &weights[head * positions..(head + 1) * positions]);
    let mut sums = [[[0f32; 16]; CHUNKS]; HEADS];
    for (position, value) in values.chunks_exact(dim).enumerate() {
        let (value, _) = value[at..at + CHUNKS * 16].as_chunks::<16>();
        for (chunk, value) in value.iter().enumerate() {
            let value = T::sixteen::<FMA>(value);
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                for (sum, value) in sums[chunk].iter_mut().zip(&value) {
                    *sum = madd::<FMA>(weights[position], *value, *sum);
                }
            }
        }
    }
    for (head, (sums, norm)) in sums.iter().zip(norms).enumerate() {
        for (out, sum) in out[head * dim + at..].iter_mut().zip(sums.as_flattened()) {
            *out = sum * norm;
        }
    }
    CHUNKS * 16
}

/// `WIDTH` elements, for what is left of a row; returns their number.
#[inline(always)]
fn mix_rest<const FMA: bool, T: Element, const WIDTH: usize>(
    weights: &[f32],
    values: &[T],
    norms: &[f32],
    dim: usize,
    at: usize,
    out: &mut [f32],
) -> usize {
    let positions = values.len() / dim;
    for (head, norm) in norms.iter().enumerate() {
        let weights = &weights[head * positions..(head + 1) * positions];
        let mut sums = [0f32; WIDTH];
        for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
            for (sum, value) in sums.iter_mut().zip(&value[at..at + WIDTH]) {
                *sum = madd::<FMA>(*weight, value.one(), *sum);
            }
        }
        for (out, sum) in out[head * dim + at..].iter_mut().zip(sums) {
            *out = sum * norm;
        }
    }
    WIDTH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::{Isa, half};

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

    /// Rows as they are stored in one of the formats, and as the floats that they mean.
    struct Stored {
        cached: [Vec<u16>; 2],
        codes: [Vec<i8>; 2],
        scales: [Vec<f32>; 2],
        means: [[Vec<f32>; 2]; 3],
    }

    fn stored(isa: Isa, dim: usize, keys: &[f32], values: &[f32]) -> Stored {
        let both = [keys, values];
        let cached = both.map(|rows| {
            let mut halves = vec![0u16; rows.len()];
            round_row(isa, rows, &mut halves);
            halves
        });
        let (mut codes, mut scales) = (both.map(|rows| vec![0i8; rows.len()]), [vec![], vec![]]);
        for side in 0..2 {
            for (row, codes) in both[side].chunks(dim).zip(codes[side].chunks_mut(dim)) {
                scales[side].push(quantise_row(isa, row, codes));
            }
        }
        let halves = cached.each_ref().map(|rows| rows.iter().map(|h| half::to_f32(*h)).collect());
        let bytes = [0, 1].map(|side| {
            let rows = codes[side].chunks(dim).zip(&scales[side]);
            rows.flat_map(|(row, scale)| row.iter().map(move |c| f32::from(*c) * scale)).collect()
        });
        let means = [both.map(<[f32]>::to_vec), halves, bytes];
        Stored { cached, codes, scales, means }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_path_and_format_agrees_with_the_definition(
            head_dim in prop::sample::select(vec![1usize, 5, 8, 16, 24, 48, 64, 80, 128, 256]),
            group in 1usize..8, visible in 1usize..70, capped in any::<bool>(),
        ) {
            let attention =
                Attention { head_dim, scale: 0.3, softcap: if capped { 20.0 } else { 0.0 } };
            let wave = |count: usize, step: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * step).sin()).collect()
            };
            let queries = wave(group * head_dim, 0.37);
            let (keys, values) = (wave(visible * head_dim, 1.7), wave(visible * head_dim, 0.91));
            for isa in Isa::available() {
                let Stored { cached, codes, scales, means } =
                    stored(isa, head_dim, &keys, &values);
                let formats = [
                    Cached::F32(Rows {
                        keys: &keys, values: &values, key_scales: &[], value_scales: &[],
                    }),
                    Cached::F16(Rows {
                        keys: &cached[0], values: &cached[1], key_scales: &[], value_scales: &[],
                    }),
                    Cached::Int8(Rows {
                        keys: &codes[0], values: &codes[1],
                        key_scales: &scales[0], value_scales: &scales[1],
                    }),
                ];
                for (cached, [keys, values]) in formats.into_iter().zip(&means) {
                    let mut out = vec![f32::NAN; group * head_dim];
                    let mut scores = vec![0f32; group * visible + 3];
                    attend(isa, &attention, &queries, cached, &mut scores, &mut out);
                    for head in 0..group {
                        let head = head * head_dim..(head + 1) * head_dim;
                        let want = reference(&attention, &queries[head.clone()], keys, values);
                        for (got, want) in out[head].iter().zip(want) {
                            prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{:?}", isa);
                        }
                    }
                }
            }
        }
    }
}
