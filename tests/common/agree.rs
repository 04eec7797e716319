//! The rule of `docs/reproducibility.md`: the top token is equal wherever the fp32 margin exceeds a
//! threshold, and the mean KL divergence is bounded. Tests bring the logits and the bound.

use super::{largest_difference, top};
use slmd::engine::agreement::{CLEAR_MARGIN, kl};

/// How far two runs are apart over all positions.
#[derive(Debug, Default)]
pub struct Distance {
    pub positions: usize,
    pub largest: f32,
    pub mean_kl: f64,
    pub clear: usize,
    pub clear_equal: usize,
}

impl Distance {
    /// Of `ours` from `theirs`, where a margin of `truth` says which positions are clear.
    pub fn between(ours: &[Vec<f32>], theirs: &[Vec<f32>], truth: &[Vec<f32>]) -> Self {
        assert!(ours.len() == theirs.len() && ours.len() == truth.len(), "positions differ");
        let mut distance = Self { positions: ours.len(), ..Self::default() };
        for ((a, b), t) in ours.iter().zip(theirs).zip(truth) {
            distance.largest = distance.largest.max(largest_difference(a, b));
            distance.mean_kl += kl(b, a) / ours.len() as f64;
            if margin(t) > CLEAR_MARGIN {
                distance.clear += 1;
                distance.clear_equal += usize::from(top(a) == top(b));
            }
        }
        distance
    }
}

fn margin(logits: &[f32]) -> f32 {
    let best = top(logits);
    let others = logits.iter().enumerate().filter(|(id, _)| *id as u32 != best);
    logits[best as usize] - others.map(|(_, l)| *l).fold(f32::NEG_INFINITY, f32::max)
}
