//! `slmd watch test`: a recorded series through a watch, in virtual time.

mod args;
mod recording;
mod replay;

pub use args::{RuleArgs, WatchArgs, WatchCommand, WatchTestArgs};

use super::answerer::{Answerer, answer};
use super::exit::{DATA, Failure, INTERRUPTED, USAGE};
use super::interrupt::was_interrupted;
use super::local::{self, Local};
use super::term::{Progress, printable};
use crate::config::Settings;
use crate::supervisor::{Plan, bring_up};
use crate::watch::{Outcome, Watch, WatchSpec, conflict};
use crate::wire::Ask;
use recording::{Clock, Recording};
use replay::{Asked, Published, Question, Replay};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;

/// Runs it.
pub fn run(args: &WatchArgs) -> Result<(), Failure> {
    let WatchCommand::Test(args) = &args.command;
    let (mut watch, settings) = choose(args)?;
    let topic = topic(args, &watch)?;
    if args.no_model {
        watch.task = None;
    }
    let mut recording = Recording::open(args)?;
    if !recording.holds_json() {
        // The column is the number already, whatever the payload will look like.
        watch.value = None;
    }
    let mut model = Model { settings, answerer: None };
    let clock = recording.clock();
    let mut print = |published: &Published<'_>| print(args.json, clock, published);
    let mut ask = |question: &Question| model.ask(question);
    let mut replay = Replay::new(watch, &mut ask, &mut print);
    while let Some(row) = recording.next()? {
        replay.row(&row, &topic)?;
    }
    let replayed = replay.finish()?;
    let summary = recording.summary(&replayed);
    say(&if args.json { format!("{}\n", json!({ "summary": summary })) } else { table(&summary) })?;
    match replayed.counts.samples {
        0 => Err(Failure::new(DATA, "no row has a sample")
            .hint("--value-column and --time-column say where they are")),
        _ => Ok(()),
    }
}

/// The watch of the flags, or of the configuration; with the settings where they were read.
fn choose(args: &WatchTestArgs) -> Result<(Watch, Option<Settings>), Failure> {
    if let Some(when) = &args.rule.when {
        let spec = spec(args, when);
        let watch = spec.resolve().map_err(|e| Failure::new(USAGE, format!("--{e}")))?;
        if let Some(conflict) = conflict(&[&watch]) {
            return Err(Failure::new(USAGE, conflict.problem));
        }
        let needs_model = watch.task.is_some() && !args.no_model;
        return Ok((watch, if needs_model { Some(local::settings(&args.local)?) } else { None }));
    }
    let settings = local::settings(&args.local)?;
    let all = &settings.watches;
    let names: Vec<&str> = all.iter().map(|w| w.value.name.as_str()).collect();
    let found = match &args.watch {
        Some(name) => all.iter().find(|w| w.value.name == *name),
        None if all.len() == 1 => all.first(),
        None => None,
    };
    match found {
        Some(watch) => Ok((watch.value.clone(), Some(settings))),
        None if names.is_empty() => {
            Err(Failure::new(USAGE, "there is no [[watch]] in the configuration")
                .hint("--config names another; --when tries a rule without one"))
        }
        None => Err(Failure::new(USAGE, "which watch?")
            .hint(format!("--watch takes one of: {}", names.join(", ")))),
    }
}

fn spec(args: &WatchTestArgs, when: &str) -> WatchSpec {
    let rule = args.rule.clone();
    WatchSpec {
        name: Some("test".into()),
        topic: Some(args.topic.clone().unwrap_or_else(|| "sensor".into())),
        publish: Some("alert".into()),
        when: Some(when.into()),
        clear: rule.clear,
        window: rule.window,
        window_samples: rule.window_samples,
        min_samples: rule.min_samples,
        hold: rule.hold,
        cooldown: rule.cooldown,
        repeat: rule.repeat,
        task: rule.task,
        ..WatchSpec::default()
    }
}

fn topic(args: &WatchTestArgs, watch: &Watch) -> Result<String, Failure> {
    let topic = match &args.topic {
        Some(topic) if args.rule.when.is_none() => topic.clone(),
        _ => watch.filter.example(),
    };
    match watch.filter.matches(&topic) {
        true => Ok(topic),
        false => {
            let filter = watch.filter.as_str();
            Err(Failure::new(USAGE, format!("the watch takes {filter:?}, which is not {topic:?}")))
        }
    }
}

/// The model, loaded when it is first asked.
struct Model {
    settings: Option<Settings>,
    answerer: Option<Box<dyn Answerer>>,
}

impl Model {
    fn ask(&mut self, question: &Question) -> Result<Asked, Failure> {
        let mut progress = Progress::start("loading the model");
        let answerer = match &mut self.answerer {
            Some(answerer) => answerer,
            none => none.insert(load(self.settings.as_ref(), &progress)?),
        };
        progress.phase("waiting for the answer");
        let ask = Ask {
            task: Some(question.task.clone()),
            vars: Some(question.vars.clone()),
            deadline_ms: question.deadline_ms,
            priority: question.priority,
            ..Ask::default()
        };
        let began = Instant::now();
        let outcome = answer(answerer.as_mut(), &ask, &mut |_| ());
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        progress.end();
        if was_interrupted() {
            return Err(Failure::silent(INTERRUPTED));
        }
        let outcome = match outcome {
            Ok(answer) => Outcome {
                tokens: answer.prompt_tokens + answer.completion_tokens,
                text: Some(answer.text),
                error: None,
            },
            Err(Failure { reason: Some(reason), .. }) => Outcome {
                error: Some((reason.code().to_owned(), reason.message)),
                ..Outcome::default()
            },
            Err(other) => return Err(other),
        };
        Ok(Asked { outcome, took_ms })
    }
}

fn load(settings: Option<&Settings>, progress: &Progress) -> Result<Box<dyn Answerer>, Failure> {
    super::log_to_stderr("warn");
    let settings = settings.expect("read wherever a task can run");
    let runtime = bring_up(&Plan::from(settings), &|phase| progress.phase(phase))?;
    Ok(Box::new(Local::new(runtime.handle())))
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))
}

fn print(json: bool, clock: Clock, published: &Published<'_>) -> Result<(), Failure> {
    let Published { now_ms, topic, retain, payload } = published;
    let time = clock.show(*now_ms);
    if json {
        return say(&format!(
            "{}\n",
            json!({ "time": time, "topic": topic, "retain": retain, "payload": payload })
        ));
    }
    let state = payload["state"].as_str().unwrap_or_default();
    let lasted = payload.get("since_s").or(payload.get("lasted_s")).and_then(Value::as_f64);
    let lasted = lasted_for(lasted.unwrap_or(0.0));
    let figures: Vec<String> = ["count", "min", "max", "mean", "last", "slope", "stddev"]
        .iter()
        .filter_map(|name| Some(format!("{name} {}", short(payload["stats"][*name].as_f64()?))))
        .collect();
    let answer = match (&payload["answer"], payload.get("error")) {
        (Value::Null, None) => String::new(),
        (Value::Null, Some(e)) => format!("  no answer: {}", e["code"].as_str().unwrap_or("?")),
        (answer, _) => format!("  {answer}"),
    };
    let line = format!("{time}  {topic}  {state:7}  {lasted:>8}  {}{answer}", figures.join(" "));
    say(&format!("{}\n", printable(&line)))
}

/// Two units are enough: `12h 35m`.
fn lasted_for(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m {:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d {:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// To four digits, which is what fits a line.
fn short(x: f64) -> String {
    let rounded = format!("{x:.3e}").parse::<f64>().unwrap_or(x);
    if rounded != 0.0 && !(1e-4..1e9).contains(&rounded.abs()) {
        format!("{rounded:e}")
    } else {
        rounded.to_string()
    }
}

/// The summary, one figure a line; what is zero and would worry somebody only if not is left out.
fn table(summary: &Value) -> String {
    let mut text = String::from("\n");
    for (name, value) in summary.as_object().into_iter().flatten() {
        let value = match value {
            Value::Object(rows) if rows["count"] == 0 => continue,
            Value::Object(rows) => format!("{} (first in line {})", rows["count"], rows["line"]),
            Value::Bool(false) => continue,
            other => other.to_string(),
        };
        text.push_str(&format!("{:16}{value}\n", name.replace('_', " ")));
    }
    text
}
