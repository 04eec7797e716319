//! `slmd ask`: one prompt, one answer.

use super::answerer::{Answerer, answer, choose};
use super::args::{AskArgs, SamplingArgs};
use super::exit::{DATA, Failure, INTERRUPTED, NO_INPUT, TIMEOUT, USAGE};
use super::interrupt::was_interrupted;
use super::term::{Progress, note, printable};
use crate::core::request::Score;
use crate::wire::{Answer, Ask, Reply, ResponseFormat, json};
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

/// The longest prompt read from standard input; the model's context is far smaller.
const INPUT_BYTES: u64 = 1024 * 1024;

/// Runs it.
pub fn run(args: &AskArgs) -> Result<(), Failure> {
    let ask = request(args)?;
    ask.validate()?;
    let mut progress = Progress::start("looking for the daemon");
    let mut answerer = choose(&args.socket, &args.local, &progress)?;
    progress.phase("waiting for the answer");
    let outcome = if args.json {
        print_json(answerer.as_mut(), &ask, &mut progress)
    } else {
        print_text(answerer.as_mut(), &ask, &mut progress)
    };
    if was_interrupted() { Err(Failure::silent(INTERRUPTED)) } else { outcome }
}

/// The request that the arguments describe.
fn request(args: &AskArgs) -> Result<Ask, Failure> {
    let ask = Ask {
        task: args.task.clone(),
        prompt: Some(prompt(args.prompt.as_deref())?),
        stream: !args.json && std::io::stdout().is_terminal(),
        response_format: form(args)?,
        min_confidence: args.min_confidence,
        on_deadline: args.on_deadline,
        ..Ask::default()
    };
    Ok(with_sampling(ask, &args.sampling))
}

/// Adds what the sampling arguments say.
pub fn with_sampling(ask: Ask, args: &SamplingArgs) -> Ask {
    Ask {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        seed: args.seed,
        stop: args.stop.clone(),
        deadline_ms: args.deadline_ms,
        ..ask
    }
}

fn prompt(argument: Option<&str>) -> Result<String, Failure> {
    match argument {
        Some(text) if text != "-" => return Ok(text.to_owned()),
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::new(USAGE, "there is no prompt")
                .hint("slmd ask \"your prompt\", or pipe it: echo hello | slmd ask -"));
        }
        _ => {}
    }
    let mut text = String::new();
    match std::io::stdin().lock().take(INPUT_BYTES + 1).read_to_string(&mut text) {
        Err(e) => Err(Failure::new(NO_INPUT, format!("cannot read standard input: {e}"))),
        Ok(n) if n as u64 > INPUT_BYTES => {
            Err(Failure::new(DATA, format!("standard input has more than {INPUT_BYTES} bytes")))
        }
        // The line feed is `echo`'s.
        Ok(_) => Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned)),
    }
}

/// The form of the answer, if one is asked for.
fn form(args: &AskArgs) -> Result<Option<ResponseFormat>, Failure> {
    match (&args.schema, args.choice.as_slice()) {
        (Some(path), _) => schema(path).map(Some),
        (None, []) => Ok(None),
        (None, labels) => Ok(Some(ResponseFormat::Choice(labels.to_vec(), Score::Sum))),
    }
}

fn schema(path: &Path) -> Result<ResponseFormat, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::unreadable(path, &e))?;
    let schema = serde_json::from_str(&text)
        .map_err(|e| Failure::new(DATA, format!("{} is not JSON: {e}", path.display())))?;
    Ok(ResponseFormat::JsonSchema(schema))
}

fn print_text(
    answerer: &mut dyn Answerer,
    ask: &Ask,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut printed = Printed::default();
    let answer = answer(answerer, ask, &mut |delta| {
        progress.end();
        printed.print(delta);
    });
    progress.end();
    if let Ok(answer) = &answer
        && !ask.stream
    {
        printed.print(&answer.text);
    }
    printed.end_line()?;
    explain_end(&answer?)
}

fn print_json(
    answerer: &mut dyn Answerer,
    ask: &Ask,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let outcome = answer(answerer, ask, &mut |_| ());
    progress.end();
    let reply = match &outcome {
        Ok(answer) => Reply::Answer(Box::new(answer.clone())),
        Err(Failure { reason: Some(reason), .. }) => {
            Reply::Error { id: None, reason: reason.clone() }
        }
        Err(other) => return Err(other.clone()),
    };
    let mut line = Vec::new();
    json::write_reply(&reply, &mut line);
    std::io::stdout().write_all(&line).map_err(|e| Failure::output(&e))?;
    match outcome {
        Ok(answer) if answer.cause == "deadline" => Err(Failure::silent(TIMEOUT)),
        Ok(_) => Ok(()),
        // The JSON has said it.
        Err(failure) => Err(Failure::silent(failure.code)),
    }
}

/// Says why an answer is not whole, and what else there is to know of it.
pub fn explain_end(answer: &Answer) -> Result<(), Failure> {
    if !answer.filled.is_empty() {
        let values: Vec<&str> = answer.filled.iter().map(|p| name_of(p)).collect();
        note(&format!(
            "not the model's, but filled in to complete the answer: {}",
            values.join(", ")
        ));
    }
    if answer.abstained == Some(true) {
        let sure = answer.confidence.as_ref().map_or(0.0, |c| c.overall);
        note(&format!("less sure than was asked for: {sure:.2}"));
    }
    if let Some(who) = &answer.answered_by {
        note(&format!("answered by: {who}"));
    }
    for call in &answer.tool_calls {
        note(&format!("the model calls {}({}): that is for you to run", call.name, call.arguments));
    }
    match answer.cause {
        "deadline" => Err(Failure::new(TIMEOUT, "the deadline came before the end of the answer")),
        "length" => {
            note("cut at the most tokens; --max-tokens allows more");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn name_of(pointer: &str) -> &str {
    if pointer.is_empty() { "the whole" } else { pointer }
}

/// What has gone to standard output so far.
#[derive(Default)]
pub struct Printed {
    last: Option<u8>,
    error: Option<std::io::Error>,
}

impl Printed {
    /// Prints at once; an error is kept for [`Printed::end_line`].
    pub fn print(&mut self, text: &str) {
        if self.error.is_some() || text.is_empty() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let text = if out.is_terminal() { printable(text) } else { text.into() };
        self.last = text.bytes().last();
        self.error = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
    }

    /// Ends the last line, if it has not ended.
    pub fn end_line(&mut self) -> Result<(), Failure> {
        if !matches!(self.last, None | Some(b'\n')) {
            self.print("\n");
        }
        self.last = None;
        self.error.take().map_or(Ok(()), |e| Err(Failure::output(&e)))
    }
}
