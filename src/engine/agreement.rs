//! Whether two engines agree: a fixed text fed to each, what they answer, and how long that takes.
//!
//! Two engines are compared teacher-forced, as `docs/reproducibility.md` says: at every position the
//! top token is equal wherever the reference is clear about it, and the distributions are close.

use super::{Engine, StepError};
use crate::core::plan::{ModelId, Row, Slot, StepPlan, Want};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Decode steps whose logits are compared.
pub const POSITIONS: usize = 16;
/// Tokens of the prompt before them.
pub const PROMPT_TOKENS: usize = 32;
/// How often the steps are run to be timed.
const ROUNDS: usize = 5;
/// From this margin of the two largest logits on, the reference is clear about the top token.
pub const CLEAR_MARGIN: f32 = 1.0;
/// The largest mean divergence, in nats: that of int8 caches is a fifth of it, that of another model
/// a hundred times as much.
pub const MOST_KL: f64 = 0.02;

/// What an engine answered, and how long it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ForcedRun {
    /// The tokens that were fed: [`PROMPT_TOKENS`], then one a step.
    pub tokens: Vec<u32>,
    /// After the prompt and after each step: `[1 + POSITIONS][vocab_size]`.
    pub logits: Vec<Vec<f32>>,
    /// How long it took.
    pub times: Times,
}

/// Medians over some rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The prompt's, in milliseconds.
    pub prefill_ms: f64,
    /// One decode step's, in milliseconds.
    pub decode_ms: f64,
}

impl Times {
    /// The prompt and all steps, in milliseconds: what providers are compared by.
    pub fn whole_ms(&self) -> f64 {
        self.prefill_ms + self.decode_ms * POSITIONS as f64
    }
}

/// How close two runs of the same tokens are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Positions compared.
    pub positions: usize,
    /// Those where the reference is clear about the top token.
    pub clear: usize,
    /// Those of them where the top token is the same.
    pub clear_equal: usize,
    /// `KL(reference || other)`, mean, in nats.
    pub mean_kl: f64,
}

impl Agreement {
    /// Of `other` with `reference`.
    pub fn between(reference: &[Vec<f32>], other: &[Vec<f32>]) -> Self {
        let mut all = Self { positions: reference.len(), ..Self::default() };
        for (reference, other) in reference.iter().zip(other) {
            all.mean_kl += kl(reference, other) / all.positions as f64;
            let (best, margin) = top(reference);
            if margin >= CLEAR_MARGIN {
                all.clear += 1;
                all.clear_equal += usize::from(top(other).0 == best);
            }
        }
        all
    }

    /// Whether both are the same model, by the rule. Not a number anywhere is none.
    pub fn holds(&self) -> bool {
        self.positions > 0 && self.clear_equal == self.clear && self.mean_kl <= MOST_KL
    }
}

/// The prompt: tokens spread over the vocabulary, always the same for a model.
pub fn prompt(vocab_size: u32) -> Vec<u32> {
    // Knuth's multiplicative hashing.
    let spread = |i: u32| i.wrapping_mul(2_654_435_761) >> 8;
    (1..=PROMPT_TOKENS as u32).map(|i| spread(i) % vocab_size.max(1)).collect()
}

/// Feeds `tokens`; where these end with the prompt, goes on greedily to their full number.
///
/// # Errors
/// The engine's; [`StepError::Engine`] for logits that are no numbers.
pub fn run(engine: &mut dyn Engine, tokens: &[u32]) -> Result<ForcedRun, StepError> {
    let mut forced = ForcedRun { tokens: tokens.to_vec(), ..ForcedRun::default() };
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forced.logits.clear();
        let start = Instant::now();
        feed_prompt(engine, &mut forced)?;
        prefills.push(start.elapsed());
        for step in 0..POSITIONS {
            let position = PROMPT_TOKENS + step;
            if forced.tokens.len() == position {
                let last = forced.logits.last().expect("one for the prompt");
                forced.tokens.push(top(last).0);
            }
            let token = [forced.tokens[position]];
            let start = Instant::now();
            let logits = feed(engine, position as u32, &token)?;
            decodes.push(start.elapsed());
            forced.logits.push(logits);
        }
        engine.release(SLOT);
    }
    forced.times = Times { prefill_ms: median_ms(prefills), decode_ms: median_ms(decodes) };
    match forced.logits.iter().flatten().all(|logit| logit.is_finite()) {
        true => Ok(forced),
        false => Err(StepError::Engine("it computes logits that are no numbers".into())),
    }
}

const SLOT: Slot = Slot { model: ModelId(0), index: 0, generation: 0 };

fn feed_prompt(engine: &mut dyn Engine, forced: &mut ForcedRun) -> Result<(), StepError> {
    let chunk = (engine.caps().max_chunk as usize).clamp(1, PROMPT_TOKENS);
    let mut last = Vec::new();
    for at in (0..PROMPT_TOKENS).step_by(chunk) {
        let end = (at + chunk).min(PROMPT_TOKENS);
        let part: Vec<u32> = forced.tokens[at..end].to_vec();
        last = feed(engine, at as u32, &part)?;
    }
    forced.logits.push(last);
    Ok(())
}

/// The logits after the last of `tokens`.
fn feed(engine: &mut dyn Engine, pos: u32, tokens: &[u32]) -> Result<Vec<f32>, StepError> {
    let row = Row { slot: SLOT, pos, tokens, want: Want::Last };
    engine.step(&StepPlan { rows: &[row] })?;
    Ok(engine.logits(0).to_vec())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// The token with the largest of these logits, and how far ahead of the next it is.
pub fn top(logits: &[f32]) -> (u32, f32) {
    let (mut best, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > first {
            (best, second, first) = (token as u32, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best, first - second)
}

/// `KL(p || q)` of the softmax of two rows of logits, in nats.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    logits.iter().map(|l| f64::from(l - largest) - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_where_it_is_clear_is_another_model() {
        let clear = vec![vec![5.0, 1.0, 0.0], vec![0.0, 9.0, 1.0]];
        let same = Agreement::between(&clear, &clear);
        assert!(same.holds() && same.clear == 2 && same.mean_kl.abs() < 1e-12, "{same:?}");
        let other = vec![vec![1.0, 5.0, 0.0], vec![0.0, 9.0, 1.0]];
        assert!(!Agreement::between(&clear, &other).holds());
        // Equal tops are not enough if the distribution is another.
        let flat = vec![vec![1.1, 1.0, 1.0], vec![0.0, 0.1, 0.0]];
        assert!(!Agreement::between(&clear, &flat).holds());
        let near = vec![vec![0.10, 0.11], vec![1.0, 0.5]];
        let swapped = vec![vec![0.11, 0.10], vec![1.0, 0.5]];
        assert!(Agreement::between(&near, &swapped).holds(), "a near tie may fall either way");
        assert!(!Agreement::between(&near, &[vec![f32::NAN, 0.1], vec![1.0, 0.5]]).holds());
        assert!(!Agreement::between(&[], &[]).holds());
    }

    #[test]
    fn the_prompt_is_the_models() {
        assert_eq!(prompt(100), prompt(100));
        assert!(prompt(100).iter().all(|t| *t < 100) && prompt(1) == [0; PROMPT_TOKENS]);
    }
}
