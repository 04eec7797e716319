//! `slmd task test` and `slmd calibrate`: a task against examples whose answers are known.

mod args;
mod calibrate;
mod examples;
mod score;

pub use args::{CalibrateArgs, TaskArgs, TaskCommand, TaskTestArgs};
pub use calibrate::run as calibrate;

use super::answerer::choose;
use super::exit::{Failure, INTERRUPTED};
use super::interrupt::was_interrupted;
use super::term::{Progress, printable};
use examples::Outcome;
use serde_json::json;
use std::io::Write;

/// Runs `slmd task`.
pub fn run(args: &TaskArgs) -> Result<(), Failure> {
    let TaskCommand::Test(args) = &args.command;
    let examples = examples::read(&args.examples, &args.task, args.limit)?;
    let mut progress = Progress::start("looking for the daemon");
    let mut answerer = choose(&args.socket, &args.local, &progress)?;
    let outcomes =
        examples::ask_all(answerer.as_mut(), examples, &args.task, &args.field, &progress)?;
    progress.end();
    let scores = score::by_source(&outcomes);
    let wrong = outcomes.iter().filter(|outcome| !outcome.is_right).take(args.wrong);
    let text = match args.json {
        true => {
            let wrong: Vec<_> = wrong.map(wrong_json).collect();
            format!("{}\n", json!({"task": args.task, "scores": scores, "wrong": wrong}))
        }
        false => score::table(&scores) + &wrong.map(wrong_text).collect::<String>(),
    };
    say(&text)?;
    if was_interrupted() { Err(Failure::silent(INTERRUPTED)) } else { Ok(()) }
}

fn wrong_json(outcome: &Outcome) -> serde_json::Value {
    let example = &outcome.example;
    let (said, error) = match &outcome.reply {
        Ok(answer) => (Some(&answer.text), None),
        Err(reason) => (None, Some(json!({"code": reason.code(), "message": reason.message}))),
    };
    json!({"prompt": example.prompt, "vars": example.vars, "wanted": example.answer, "said": said,
        "error": error})
}

fn wrong_text(outcome: &Outcome) -> String {
    let example = &outcome.example;
    let vars = example.vars.as_ref().map(ToString::to_string);
    let asked = example.prompt.as_deref().or(vars.as_deref()).unwrap_or_default();
    let said = match &outcome.reply {
        Ok(answer) => answer.text.clone(),
        Err(reason) => reason.to_string(),
    };
    let wanted = match &example.answer {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lines = format!("\n  {asked}\n    wanted {wanted}\n    said   {said}\n");
    printable(&lines).into_owned()
}

/// Prints to standard output.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}
