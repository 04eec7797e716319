//! `slmd calibrate`: the temperature of a task's confidence.

use super::args::CalibrateArgs;
use super::examples::{self, Outcome};
use super::{say, score};
use crate::calibration::{Calibration, Calibrations, Judged, expected_error, fit, log_loss};
use crate::cli::exit::{CANNOT_WRITE, DATA, Failure, INTERRUPTED};
use crate::cli::interrupt::was_interrupted;
use crate::cli::local;
use crate::cli::term::Progress;
use crate::supervisor::{Plan, open_bundle};
use serde_json::json;
use std::fmt::Write;

/// Fewer examples than this are not fitted.
const LEAST: usize = 20;

/// Runs it.
pub fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    let examples = examples::read(&args.examples, &args.task, args.limit)?;
    if examples.len() < LEAST {
        let message = format!("{} examples are too few: at least {LEAST}", examples.len());
        return Err(Failure::new(DATA, message).hint("some hundred make it dependable"));
    }
    let settings = local::settings(&args.local)?;
    let plan = Plan { calibrations: None, ..local::plan(&settings) };
    let mut progress = Progress::start("reading the model's files");
    let bundle = open_bundle(&plan)?;
    let tasks = plan.all_tasks(&bundle);
    let task = tasks.iter().rev().find(|task| task.name == args.task).ok_or_else(|| {
        let known: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        Failure::new(DATA, format!("no task {:?}; there is {}", args.task, known.join(", ")))
    })?;
    let fields = task.confidence_fields.clone();
    super::super::log_to_stderr("warn");
    let mut answerer = local::bring(&plan, &progress)?;
    let outcomes = examples::ask_all(answerer.as_mut(), examples, &args.task, &fields, &progress)?;
    progress.end();
    if was_interrupted() {
        return Err(Failure::silent(INTERRUPTED));
    }
    let judged: Vec<Judged> = outcomes.iter().filter_map(Outcome::judged).collect();
    if judged.len() < LEAST {
        let message = format!("only {} of the answers have a confidence", judged.len());
        return Err(Failure::new(DATA, message).hint("a task needs an `output` for that"));
    }
    let temperature = fit(&judged);
    if !args.dry_run {
        let found = Calibration {
            model: bundle.hash.clone(),
            temperature: temperature as f32,
            examples: judged.len(),
        };
        let folder = &settings.state_dir.value;
        Calibrations::put(folder, &args.task, found).map_err(|e| {
            Failure::new(CANNOT_WRITE, format!("cannot write to {}: {e}", folder.display()))
                .hint("run it as the daemon's user, or use --dry-run")
        })?;
    }
    let kept = (!args.dry_run).then(|| settings.state_dir.value.display().to_string());
    say(&report(args, &judged, temperature, kept.as_deref()))
}

fn report(args: &CalibrateArgs, judged: &[Judged], temperature: f64, kept: Option<&str>) -> String {
    let right = judged.iter().filter(|one| one.is_right()).count();
    let figures = |t: f64| (expected_error(judged, t), log_loss(judged, t));
    let (before, after) = (figures(1.0), figures(temperature));
    let bounds: Vec<_> = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
        .into_iter()
        .map(|bound| {
            let sure = |one: &&Judged| one.confidence(temperature) >= bound;
            let kept: Vec<&Judged> = judged.iter().filter(sure).collect();
            (bound, kept.len(), kept.iter().filter(|one| one.is_right()).count())
        })
        .collect();
    if args.json {
        let bounds: Vec<_> = bounds
            .iter()
            .map(|(bound, kept, right)| {
                json!({"min_confidence": bound, "answered": kept, "right": right})
            })
            .collect();
        let value = json!({
            "task": args.task, "examples": judged.len(), "right": right,
            "temperature": temperature, "kept": kept,
            "before": {"calibration_error": before.0, "log_loss": before.1},
            "after": {"calibration_error": after.0, "log_loss": after.1},
            "bounds": bounds,
        });
        return format!("{value}\n");
    }
    let mut out = format!(
        "{}: {} examples, {right} right; temperature {temperature:.3}\n\
         expected calibration error {:.3}, was {:.3}; log loss {:.3}, was {:.3}\n\n\
         min-confidence  answered   right of those\n",
        args.task,
        judged.len(),
        after.0,
        before.0,
        after.1,
        before.1
    );
    for (bound, kept, right) in bounds {
        let share = 100.0 * kept as f64 / judged.len() as f64;
        let (low, high) = score::wilson(right, kept);
        let of_those = match kept {
            0 => "-".to_owned(),
            _ => format!(
                "{:.1} % ({:.1}-{:.1})",
                100.0 * right as f64 / kept as f64,
                100.0 * low,
                100.0 * high
            ),
        };
        let _ = writeln!(out, "{bound:>14.2}  {share:>6.1} %   {of_those}");
    }
    let _ = match kept {
        None => writeln!(out, "\nnothing was kept"),
        Some(folder) => {
            writeln!(out, "\nkept in {folder}; the daemon takes it at its next start or reload")
        }
    };
    out
}
