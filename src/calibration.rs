//! How sure answers really are: one temperature a task, fitted to answers that are known to be right or
//! wrong, and kept beside the daemon's state.
//!
//! Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017): the logarithm of
//! a confidence is divided by the temperature, or those of all labels of a choice are; what is likelier
//! stays likelier. The temperature is the one with the least log loss, held to 1 a little; how well it
//! does is told by the expected calibration error over 15 bins, from the same paper. Knows nothing of
//! tasks but their names, and nothing of models but their hashes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The file's name in the state directory.
const FILE: &str = "calibrations.json";
/// The form of the file; another one is not read.
const VERSION: u32 = 1;
/// The most bytes of the file.
const FILE_LIMIT: u64 = 1 << 20;
/// Bins of the expected calibration error.
const BINS: usize = 15;
/// Temperatures that are looked at.
const RANGE: (f64, f64) = (0.05, 20.0);
/// How far a temperature's logarithm is thought to be from zero before anything is seen (a standard
/// deviation): a few answers, all of them right, do not make everything sure.
const SPREAD: f64 = 0.5;
/// No probability is held to be nearer to 0 or 1 than this.
const SURE: f64 = 1e-6;

/// An answer that is known to be right or wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The log-probability of each thing it could have been, up to a common constant; one alone is the
    /// answer's own, against all others together.
    pub logs: Vec<f64>,
    /// Which of them it is.
    pub chosen: usize,
    /// Which of them is right; none: another one.
    pub right: Option<usize>,
}

impl Judged {
    /// How sure it is at that temperature.
    pub fn confidence(&self, temperature: f64) -> f64 {
        self.probability(self.chosen, temperature)
    }

    /// Whether it is right.
    pub fn is_right(&self) -> bool {
        self.right == Some(self.chosen)
    }

    fn probability(&self, which: usize, temperature: f64) -> f64 {
        let scaled = self.logs.iter().map(|log| log / temperature);
        match self.logs.as_slice() {
            [log] => (log / temperature).exp(),
            _ => {
                let highest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scaled.map(|log| (log - highest).exp()).sum();
                (self.logs[which] / temperature - highest).exp() / total
            }
        }
    }

    /// The negative logarithm of the probability of what is right.
    fn loss(&self, temperature: f64) -> f64 {
        let p = match (self.logs.len(), self.right) {
            (1, Some(_)) => self.probability(0, temperature),
            (1, None) => 1.0 - self.probability(0, temperature),
            (_, Some(right)) => self.probability(right, temperature),
            // It says nothing of the others.
            (_, None) => 1.0 - self.confidence(temperature),
        };
        -p.clamp(SURE, 1.0 - SURE).ln()
    }
}

/// The temperature with the least log loss, to a thousandth; of few answers, one nearer to 1
/// (a maximum a posteriori estimate).
pub fn fit(judged: &[Judged]) -> f64 {
    let count = judged.len() as f64;
    let loss = |log: f64| count * log_loss(judged, log.exp()) + (log / SPREAD).powi(2) / 2.0;
    let (mut low, mut high) = (RANGE.0.ln(), RANGE.1.ln());
    // The loss may have more than one valley: a coarse look first, then a golden section.
    let step = (high - low) / 60.0;
    let coarse = (0..=60).map(|i| low + f64::from(i) * step);
    let best = coarse.min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap_or(0.0);
    (low, high) = ((best - step).max(low), (best + step).min(high));
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    while high - low > 1e-3 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if loss(a) <= loss(b) { high = b } else { low = a }
    }
    f64::midpoint(low, high).exp()
}

/// The mean log loss, in nats.
pub fn log_loss(judged: &[Judged], temperature: f64) -> f64 {
    mean(judged.iter().map(|one| one.loss(temperature)))
}

/// The expected calibration error: 0 to 1.
pub fn expected_error(judged: &[Judged], temperature: f64) -> f64 {
    let mut bins = vec![(0usize, 0.0, 0.0); BINS];
    for one in judged {
        let confidence = one.confidence(temperature).clamp(0.0, 1.0);
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (count, sure, right) = &mut bins[bin];
        (*count, *sure) = (*count + 1, *sure + confidence);
        *right += f64::from(u8::from(one.is_right()));
    }
    let gaps = bins.iter().map(|(_, sure, right)| (sure - right).abs());
    gaps.sum::<f64>() / judged.len().max(1) as f64
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// What was found for one task on one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the model, in hex.
    pub model: String,
    /// The temperature.
    pub temperature: f32,
    /// How many answers it was fitted to.
    pub examples: usize,
}

/// What is known of all tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibrations(BTreeMap<String, Calibration>);

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    tasks: BTreeMap<String, Calibration>,
}

impl Calibrations {
    /// Those kept in `folder`. A file that cannot be read, or is of another version, is as good as none.
    pub fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let readable = path.metadata().is_ok_and(|m| m.is_file() && m.len() <= FILE_LIMIT);
        let bytes = readable.then(|| std::fs::read(&path).ok()).flatten();
        let file = bytes.and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
        Self(file.filter(|file| file.version == VERSION).map(|file| file.tasks).unwrap_or_default())
    }

    /// Keeps one more; the file in `folder` is replaced as a whole.
    ///
    /// # Errors
    /// The system's.
    pub fn put(folder: &Path, task: &str, calibration: Calibration) -> io::Result<()> {
        let mut tasks = Self::read(folder).0;
        tasks.insert(task.to_owned(), calibration);
        std::fs::create_dir_all(folder)?;
        let passing = folder.join(format!(".{FILE}.{}", std::process::id()));
        let bytes = serde_json::to_vec_pretty(&File { version: VERSION, tasks })?;
        let written = std::fs::write(&passing, bytes)
            .and_then(|()| std::fs::rename(&passing, folder.join(FILE)));
        if written.is_err() {
            // What is half written would never be read.
            let _ = std::fs::remove_file(&passing);
        }
        written
    }

    /// The temperature of a task on the model with that hash.
    pub fn temperature(&self, task: &str, model: &str) -> Option<f32> {
        let found = self.0.get(task).filter(|found| found.model == model)?;
        Some(found.temperature).filter(|t| t.is_finite() && *t > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whose confidence is `p` and that are right `share` of the time.
    fn answers(p: f64, share: f64, count: usize) -> Vec<Judged> {
        let right = (share * count as f64).round() as usize;
        let one =
            |i: usize| Judged { logs: vec![p.ln()], chosen: 0, right: (i < right).then_some(0) };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_is_calibrated_stays_as_it_is() {
        let all: Vec<Judged> =
            [0.2, 0.5, 0.7, 0.9].iter().flat_map(|&p| answers(p, p, 1000)).collect();
        assert!((fit(&all) - 1.0).abs() < 0.01, "{}", fit(&all));
        assert!(expected_error(&all, 1.0) < 1e-9);
    }

    #[test]
    fn overconfidence_is_found_and_taken_away() {
        // They say the square root of what is true: a temperature of 1/2 squares it.
        let all: Vec<Judged> =
            [0.3, 0.5, 0.8, 0.95].iter().flat_map(|&p: &f64| answers(p.sqrt(), p, 1000)).collect();
        let temperature = fit(&all);
        assert!((temperature - 0.5).abs() < 0.01, "{temperature}");
        assert!(expected_error(&all, 1.0) > 0.1 && expected_error(&all, temperature) < 0.01);
        assert!(log_loss(&all, temperature) < log_loss(&all, 1.0));
    }

    #[test]
    fn a_few_right_answers_do_not_make_everything_sure() {
        let few = answers(0.9, 1.0, 20);
        let temperature = fit(&few);
        assert!((1.0..2.0).contains(&temperature), "{temperature}");
        assert!(fit(&answers(0.9, 1.0, 2000)) > temperature, "many tell more");
    }

    #[test]
    fn of_a_choice_all_labels_count() {
        // Two labels, said to be 0.9 to 0.1, right 0.75 of the time: 9^(1/T) = 3.
        let one = |i: usize| Judged {
            logs: vec![0.9f64.ln(), 0.1f64.ln()],
            chosen: 0,
            right: Some(usize::from(i >= 7500)),
        };
        let all: Vec<Judged> = (0..10_000).map(one).collect();
        let temperature = fit(&all);
        assert!((temperature - 2.0).abs() < 0.01, "{temperature}");
        assert!((all[0].confidence(temperature) - 0.75).abs() < 0.01);
    }

    #[test]
    fn nothing_and_the_impossible_are_survived() {
        assert!(fit(&[]).is_finite() && expected_error(&[], 1.0) == 0.0);
        let sure = vec![Judged { logs: vec![f64::NEG_INFINITY], chosen: 0, right: Some(0) }];
        assert!(log_loss(&sure, 1.0).is_finite() && fit(&sure).is_finite());
    }

    #[test]
    fn what_is_kept_is_for_one_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let found = |temperature| Calibration { model: "ab".into(), temperature, examples: 9 };
        Calibrations::put(&state, "vehicle", found(1.5)).expect("written");
        Calibrations::put(&state, "alert", found(0.7)).expect("written");
        Calibrations::put(&state, "vehicle", found(2.5)).expect("written");
        let all = Calibrations::read(&state);
        assert_eq!(all.temperature("vehicle", "ab"), Some(2.5));
        assert_eq!(all.temperature("alert", "ab"), Some(0.7));
        assert_eq!(all.temperature("vehicle", "cd"), None);
        std::fs::write(state.join(FILE), b"{").expect("writable");
        assert_eq!(Calibrations::read(&state), Calibrations::default());
        assert_eq!(std::fs::read_dir(&state).expect("there").count(), 1, "nothing is left behind");
    }
}
