//! How often a task was right, how sure and how fast.

use super::examples::Outcome;
use crate::calibration::{Judged, expected_error};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The name of all examples together.
const ALL: &str = "all";

/// The score of some examples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Where they are from.
    pub source: String,
    /// How many there are.
    pub examples: usize,
    /// How many were answered rightly.
    pub right: usize,
    /// The share of those, and its 95 % interval (Wilson 1927).
    pub accuracy: f64,
    /// From,
    pub accuracy_low: f64,
    /// and to.
    pub accuracy_high: f64,
    /// How many were refused or failed, by code.
    pub errors: BTreeMap<&'static str, usize>,
    /// How many answers abstained.
    pub abstained: usize,
    /// How many have values that are not the model's.
    pub filled: usize,
    /// The mean confidence, where there is one.
    pub confidence: Option<f64>,
    /// The expected calibration error over 15 bins.
    pub calibration_error: Option<f64>,
    /// Tokens of the answers.
    pub tokens: u64,
    /// Milliseconds from arrival to the answer: the median,
    pub p50_ms: f64,
    /// and what 95 % stay below.
    pub p95_ms: f64,
}

/// The scores of each source, if there are several, and of all.
pub fn by_source(outcomes: &[Outcome]) -> Vec<Score> {
    let mut sources: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let source = outcome.example.source.as_deref().unwrap_or("");
        sources.entry(source).or_default().push(outcome);
    }
    let several = sources.len() > 1;
    let parts = sources.into_iter().filter(|_| several).map(|(name, part)| score(name, &part));
    let all: Vec<&Outcome> = outcomes.iter().collect();
    parts.chain([score(ALL, &all)]).collect()
}

fn score(source: &str, outcomes: &[&Outcome]) -> Score {
    let answers = || outcomes.iter().filter_map(|outcome| outcome.reply.as_ref().ok());
    let mut errors = BTreeMap::new();
    for reason in outcomes.iter().filter_map(|outcome| outcome.reply.as_ref().err()) {
        *errors.entry(reason.code()).or_default() += 1;
    }
    let judged: Vec<Judged> = outcomes.iter().filter_map(|outcome| outcome.judged()).collect();
    let sure =
        judged.iter().map(|one| one.confidence(1.0)).sum::<f64>() / judged.len().max(1) as f64;
    let mut took: Vec<f64> = answers().map(|answer| f64::from(answer.total_ms)).collect();
    took.sort_by(f64::total_cmp);
    let right = outcomes.iter().filter(|outcome| outcome.is_right).count();
    let (accuracy_low, accuracy_high) = wilson(right, outcomes.len());
    Score {
        source: source.to_owned(),
        examples: outcomes.len(),
        right,
        accuracy: right as f64 / outcomes.len().max(1) as f64,
        accuracy_low,
        accuracy_high,
        errors,
        abstained: answers().filter(|answer| answer.abstained == Some(true)).count(),
        filled: answers().filter(|answer| !answer.filled.is_empty()).count(),
        confidence: (!judged.is_empty()).then_some(sure),
        calibration_error: (!judged.is_empty()).then(|| expected_error(&judged, 1.0)),
        tokens: answers().map(|answer| u64::from(answer.completion_tokens)).sum(),
        p50_ms: quantile(&took, 0.5),
        p95_ms: quantile(&took, 0.95),
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The 95 % interval of a share (Wilson, "Probable inference, the law of succession, and statistical
/// inference", 1927).
pub fn wilson(right: usize, all: usize) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (all as f64, 1.959_964f64.powi(2));
    let p = right as f64 / n;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The scores for people.
pub fn table(scores: &[Score]) -> String {
    let wide = scores.iter().map(|s| s.source.chars().count()).max().unwrap_or(0).max(6);
    let mut out = format!(
        "{:wide$}  {:>8}  {:>20}  {:>6}  {:>9}  {:>5}  {:>7}  {:>7}\n",
        "source", "examples", "right", "errors", "confident", "ECE", "p50 ms", "p95 ms"
    );
    for s in scores {
        let right = format!(
            "{:.1} % ({:.1}-{:.1})",
            100.0 * s.accuracy,
            100.0 * s.accuracy_low,
            100.0 * s.accuracy_high
        );
        let share = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        let (errors, name) =
            (s.errors.values().sum::<usize>(), if s.source.is_empty() { "-" } else { &s.source });
        let _ = writeln!(
            out,
            "{name:wide$}  {:>8}  {right:>20}  {errors:>6}  {:>9}  {:>5}  {:>7.1}  {:>7.1}",
            s.examples,
            share(s.confidence),
            share(s.calibration_error),
            s.p50_ms,
            s.p95_ms
        );
    }
    if let Some(all) = scores.last() {
        for (code, count) in &all.errors {
            let _ = writeln!(out, "{count} {code}");
        }
        for (count, what) in [
            (all.abstained, "abstained: less sure than was asked for"),
            (all.filled, "completed with values that are not the model's"),
        ] {
            if count > 0 {
                let _ = writeln!(out, "{count} {what}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        for ((right, all), (low, high)) in [
            ((81, 263), (0.2553, 0.3662)),
            ((15, 148), (0.0624, 0.1605)),
            ((0, 20), (0.0, 0.1611)),
            ((1, 29), (0.0061, 0.1718)),
        ] {
            let told = wilson(right, all);
            assert!((told.0 - low).abs() < 1e-4 && (told.1 - high).abs() < 1e-4, "{told:?}");
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn quantiles_are_values_that_occur() {
        let all = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            (quantile(&all, 0.5), quantile(&all, 0.95), quantile(&[], 0.5)),
            (2.0, 4.0, 0.0)
        );
    }
}
