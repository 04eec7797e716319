//! Drawing the next token.
//!
//! The order is that of Hugging Face's `generate` (`_get_logits_processor` in
//! `transformers/generation/utils.py`): penalties, temperature, top-k, top-p, min-p. Each of the
//! last three keeps a prefix of the tokens in order of likelihood (lower id first among equals), so
//! all of them together are one threshold, and nothing is ever sorted.

use super::exp::exp;
use super::rng::Rng;
use crate::core::request::Sampling;
use std::cmp::Ordering;

/// Logits are looked at in blocks of this many.
const BLOCK: usize = 64;
/// Weights this far below the highest (e^-40 of it) are below the precision of their sum.
const NEGLIGIBLE: f32 = 40.0;

/// The tokens before the next one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// Of the prompt: only the repetition penalty looks at them.
    pub prompt: &'a [u32],
    /// Of the answer so far.
    pub answer: &'a [u32],
}

/// A token that was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Natural logarithm of its probability by the model: of the logits as given, mask included,
    /// before penalties and temperature. Only on request.
    pub logprob: Option<f32>,
}

/// Nothing can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Every logit is minus infinity or not a number.
    #[error("no token can follow: every logit is -inf or NaN")]
    NoToken,
}

/// Draws tokens for one session; the same seed and logits give the same tokens everywhere.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
    /// Whether to say how likely tokens are, and of how many of the likeliest.
    logprobs: Option<u8>,
    /// The likeliest tokens of the last call, with the logarithms of their probabilities.
    top: Vec<(f32, u32)>,
    /// One bit a token, all zero between calls.
    marked: Vec<u64>,
    /// Logits before the penalties, of the tokens that got one.
    before: Vec<(u32, f32)>,
    candidates: Vec<(f32, u32)>,
    sums: Vec<f64>,
}

/// The least likely token that is kept: those with a higher logit, or the same and an id not above,
/// are kept too.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    logit: f32,
    id: u32,
}

impl Threshold {
    fn keeps(self, logit: f32, id: usize) -> bool {
        logit > self.logit || (logit == self.logit && id <= self.id as usize)
    }

    /// The one that keeps less.
    fn stricter(self, other: Self) -> Self {
        match likelier(&(self.logit, self.id), &(other.logit, other.id)) {
            Ordering::Greater => other,
            _ => self,
        }
    }
}

/// More likely first; lower id first among equals. No NaN comes here.
fn likelier(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1))
}

impl Sampler {
    /// For one answer. Without a seed the operating system provides one.
    pub fn new(sampling: Sampling) -> Self {
        let rng = sampling.seed.map_or_else(Rng::from_os, Rng::new);
        Self {
            sampling,
            rng,
            logprobs: None,
            top: Vec::new(),
            marked: Vec::new(),
            before: Vec::new(),
            candidates: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Whether to compute [`Sampled::logprob`], and [`Sampler::top`] of how many; costs a pass over
    /// the logits or two.
    pub fn with_logprobs(mut self, logprobs: Option<u8>) -> Self {
        self.logprobs = logprobs;
        self.top.reserve_exact(usize::from(logprobs.unwrap_or(0)));
        self
    }

    /// The likeliest tokens at the place of the last one drawn, the likeliest first (the lower id first
    /// among equals), each with its logarithm as in [`Sampled::logprob`].
    pub fn top(&self) -> &[(f32, u32)] {
        &self.top
    }

    /// Draws from `logits`, one row `[vocab_size]`, on which the penalties are then applied.
    ///
    /// # Errors
    /// [`SampleError::NoToken`] if every logit is minus infinity or NaN.
    pub fn sample(&mut self, logits: &mut [f32], seen: Seen<'_>) -> Result<Sampled, SampleError> {
        if self.logprobs.is_some() && argmax(logits).is_some_and(|(best, _)| best == f32::INFINITY)
        {
            as_finite(logits);
        }
        let log_total = self.logprobs.map(|top| self.look(logits, top.into())).transpose()?;
        self.before.clear();
        self.penalise(logits, seen);
        let token = match self.sampling.temperature > 0.0 {
            true => self.draw(logits)?,
            false => argmax(logits).ok_or(SampleError::NoToken)?.1,
        };
        let logprob = log_total.map(|total| {
            let penalised = self.before.iter().find(|(id, _)| *id == token);
            penalised.map_or(logits[token as usize], |(_, logit)| *logit) - total
        });
        Ok(Sampled { token, logprob })
    }

    /// The logarithm of the sum of the exponentials; the `k` likeliest tokens are noted.
    fn look(&mut self, logits: &[f32], k: usize) -> Result<f32, SampleError> {
        let total = log_sum_exp(logits)?;
        self.top.clear();
        if k > 0 {
            self.top_k(logits, k);
            self.candidates.sort_unstable_by(likelier);
            self.top.extend(self.candidates.iter().map(|(logit, id)| (logit - total, *id)));
        }
        Ok(total)
    }

    fn penalise(&mut self, logits: &mut [f32], seen: Seen<'_>) {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } =
            self.sampling;
        if repetition_penalty != 1.0 {
            self.once_each(logits, seen.prompt.iter().chain(seen.answer), |logit| {
                if logit > 0.0 { logit / repetition_penalty } else { logit * repetition_penalty }
            });
        }
        if presence_penalty != 0.0 {
            self.once_each(logits, seen.answer.iter(), |logit| logit - presence_penalty);
        }
        if frequency_penalty != 0.0 {
            if self.logprobs.is_some() && repetition_penalty == 1.0 && presence_penalty == 0.0 {
                self.once_each(logits, seen.answer.iter(), |logit| logit);
            }
            for &id in seen.answer {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit -= frequency_penalty;
                }
            }
        }
    }

    /// Changes the logit of each token among `ids` once.
    fn once_each<'a>(
        &mut self,
        logits: &mut [f32],
        ids: impl Iterator<Item = &'a u32> + Clone,
        change: impl Fn(f32) -> f32,
    ) {
        self.marked.resize(logits.len().div_ceil(64), 0);
        let first = self.before.is_empty();
        for &id in ids.clone() {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            let (word, bit) = (id as usize / 64, 1 << (id % 64));
            if self.marked[word] & bit == 0 {
                self.marked[word] |= bit;
                if self.logprobs.is_some() && first {
                    self.before.push((id, *logit));
                }
                *logit = change(*logit);
            }
        }
        for &id in ids {
            if let Some(word) = self.marked.get_mut(id as usize / 64) {
                *word = 0;
            }
        }
    }

    fn draw(&mut self, logits: &mut [f32]) -> Result<u32, SampleError> {
        as_finite(logits);
        let (highest, best) = argmax(logits).ok_or(SampleError::NoToken)?;
        let scale = 1.0 / self.sampling.temperature;
        let kept = self.kept(logits, highest, scale);
        Ok(self.draw_kept(logits, highest, scale, kept).unwrap_or(best))
    }

    /// What top-k, top-p and min-p together leave.
    fn kept(&mut self, logits: &[f32], highest: f32, scale: f32) -> Threshold {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let lowest = (highest - NEGLIGIBLE * temperature).max(f32::MIN);
        let mut kept = Threshold { logit: lowest, id: u32::MAX };
        if top_k > 0 && (top_k as usize) < logits.len() {
            kept = kept.stricter(self.top_k(logits, top_k as usize));
        }
        if top_p < 1.0 {
            kept = self.top_p(logits, highest, scale, kept);
        }
        if min_p > 0.0 {
            let logit = (highest + min_p.ln() * temperature).min(highest);
            kept = kept.stricter(Threshold { logit, id: u32::MAX });
        }
        kept
    }

    /// The threshold of the `k` most likely tokens.
    fn top_k(&mut self, logits: &[f32], k: usize) -> Threshold {
        let list = &mut self.candidates;
        list.clear();
        let mut floor = f32::NEG_INFINITY;
        for (block, chunk) in logits.chunks(BLOCK).enumerate() {
            if max_of(chunk) <= floor {
                continue;
            }
            for (i, &logit) in chunk.iter().enumerate().filter(|(_, l)| **l > floor) {
                list.push((logit, (block * BLOCK + i) as u32));
            }
            if list.len() >= 2 * k + BLOCK {
                list.select_nth_unstable_by(k - 1, likelier);
                list.truncate(k);
                floor = list[k - 1].0;
            }
        }
        if list.len() > k {
            list.select_nth_unstable_by(k - 1, likelier);
            list.truncate(k);
        }
        let last = list.iter().copied().max_by(likelier);
        last.map_or(Threshold { logit: f32::MIN, id: u32::MAX }, |(logit, id)| Threshold {
            logit,
            id,
        })
    }

    /// The threshold of the most likely tokens that together reach `top_p` of the mass of `kept`.
    fn top_p(&mut self, logits: &[f32], highest: f32, scale: f32, kept: Threshold) -> Threshold {
        let total = self.weigh(logits, highest, scale, kept);
        let wanted = total * f64::from(self.sampling.top_p);
        // The nucleus is nearly always within a few units of the highest logit: widen until it is.
        let mut reach = 4.0;
        loop {
            let floor = highest - reach / scale;
            let wide = Threshold { logit: floor, id: u32::MAX }.stricter(kept);
            let mass = self.gather(logits, highest, scale, wide);
            if mass >= wanted || reach >= NEGLIGIBLE {
                break;
            }
            reach *= 2.0;
        }
        self.cut_mass(highest, scale, wanted).unwrap_or(kept)
    }

    /// Collects the tokens that `kept` keeps; returns their mass.
    fn gather(&mut self, logits: &[f32], highest: f32, scale: f32, kept: Threshold) -> f64 {
        self.candidates.clear();
        let mut mass = 0.0;
        for (block, chunk) in logits.chunks(BLOCK).enumerate() {
            if max_of(chunk) < kept.logit {
                continue;
            }
            for (i, &logit) in chunk.iter().enumerate() {
                let id = block * BLOCK + i;
                if kept.keeps(logit, id) {
                    mass += f64::from(exp((logit - highest) * scale));
                    self.candidates.push((logit, id as u32));
                }
            }
        }
        mass
    }

    /// The first token, in order of likelihood, with which the candidates reach the mass `wanted`.
    /// Halves the list instead of sorting it.
    fn cut_mass(&mut self, highest: f32, scale: f32, wanted: f64) -> Option<Threshold> {
        let mut list = self.candidates.as_mut_slice();
        let mut reached = 0.0;
        while list.len() > 1 {
            let half = list.len() / 2;
            list.select_nth_unstable_by(half, likelier);
            let (upper, lower) = list.split_at_mut(half);
            let mass: f64 = upper.iter().map(|(l, _)| f64::from(exp((l - highest) * scale))).sum();
            if reached + mass >= wanted {
                list = upper;
            } else {
                reached += mass;
                list = lower;
            }
        }
        list.first().map(|&(logit, id)| Threshold { logit, id })
    }

    /// The mass of the tokens kept, with that of each block in `sums`.
    fn weigh(&mut self, logits: &[f32], highest: f32, scale: f32, kept: Threshold) -> f64 {
        self.sums.clear();
        for (block, chunk) in logits.chunks(BLOCK).enumerate() {
            let sum = match kept.id {
                _ if max_of(chunk) < kept.logit => 0.0,
                // Only the logit counts: the usual case, and vectorised.
                u32::MAX => block_sum(chunk, highest, scale, kept.logit),
                _ => (chunk.iter().enumerate())
                    .filter(|(i, l)| kept.keeps(**l, block * BLOCK + i))
                    .map(|(_, l)| f64::from(exp((l - highest) * scale)))
                    .sum(),
            };
            self.sums.push(sum);
        }
        self.sums.iter().sum()
    }

    /// Draws among the tokens kept, in order of ids. `None` if rounding leaves nothing.
    fn draw_kept(
        &mut self,
        logits: &[f32],
        highest: f32,
        scale: f32,
        kept: Threshold,
    ) -> Option<u32> {
        let total = self.weigh(logits, highest, scale, kept);
        let mut left = self.rng.next_f64() * total;
        let block = self.sums.iter().position(|&sum| {
            let here = left < sum;
            left -= if here { 0.0 } else { sum };
            here
        })?;
        let mut last = None;
        let from = block * BLOCK;
        for (i, &logit) in logits[from..].iter().take(BLOCK).enumerate() {
            let weight = f64::from(exp((logit - highest) * scale));
            if !kept.keeps(logit, from + i) || weight == 0.0 {
                continue;
            }
            last = Some((from + i) as u32);
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// An infinite logit is as good as the highest finite one.
fn as_finite(logits: &mut [f32]) {
    logits.iter_mut().for_each(|l| *l = if *l == f32::INFINITY { f32::MAX } else { *l });
}

/// The highest logit of a few; NaN does not count.
#[inline(always)]
fn max_of(chunk: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (eights, rest) = chunk.as_chunks::<8>();
    for eight in eights {
        for (lane, &x) in lanes.iter_mut().zip(eight) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// The weights of the logits not below `floor`, added up in a fixed order.
#[inline(always)]
fn block_sum(chunk: &[f32], highest: f32, scale: f32, floor: f32) -> f64 {
    let weight = |x: f32| {
        let kept = (x >= floor) as u32;
        f32::from_bits(exp((x - highest) * scale).to_bits() & kept.wrapping_neg())
    };
    let mut lanes = [0.0f32; 8];
    let (eights, rest) = chunk.as_chunks::<8>();
    for eight in eights {
        let weights = eight.map(weight);
        for (lane, weight) in lanes.iter_mut().zip(weights) {
            *lane += weight;
        }
    }
    let sum: f64 = lanes.iter().map(|&l| f64::from(l)).sum();
    sum + rest.iter().map(|&x| f64::from(weight(x))).sum::<f64>()
}

/// The highest logit and the lowest id that has it; none if all are minus infinity or NaN.
fn argmax(logits: &[f32]) -> Option<(f32, u32)> {
    const WIDE: usize = 1024;
    let mut best = (f32::NEG_INFINITY, 0);
    for (i, chunk) in logits.chunks(WIDE).enumerate() {
        let highest = max_of(chunk);
        if highest > best.0 {
            best = (highest, i);
        }
    }
    let from = best.1 * WIDE;
    let at = logits[from.min(logits.len())..].iter().position(|&l| l == best.0)?;
    (best.0 > f32::NEG_INFINITY).then_some((best.0, (from + at) as u32))
}

/// The logarithm of the sum of the exponentials; an infinite logit counts as the highest finite one.
pub(super) fn log_sum_exp(logits: &[f32]) -> Result<f32, SampleError> {
    let (highest, _) = argmax(logits).ok_or(SampleError::NoToken)?;
    let highest = highest.min(f32::MAX);
    // Of a mask little is left.
    let counts = |chunk: &&[f32]| max_of(chunk) >= highest - NEGLIGIBLE;
    let sums = logits.chunks(BLOCK).filter(counts);
    let total: f64 = sums.map(|chunk| block_sum(chunk, highest, 1.0, f32::MIN)).sum();
    Ok(highest + total.ln() as f32)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
