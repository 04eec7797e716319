//! `slmd chat`: a conversation, line by line.

use super::answerer::{Answerer, answer, choose};
use super::args::ChatArgs;
use super::ask::{Printed, explain_end, with_sampling};
use super::exit::{Failure, NO_INPUT};
use super::term::{Progress, has_colour, note};
use crate::core::error::ErrorCode;
use crate::wire::{Answer, Ask, Message, limits};
use std::io::{BufRead, IsTerminal, Write};

/// Runs it.
pub fn run(args: &ChatArgs) -> Result<(), Failure> {
    let progress = Progress::start("looking for the daemon");
    let mut answerer = choose(&args.socket, &args.local, &progress)?;
    drop(progress);
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        note("/reset forgets the conversation, /quit ends it");
    }
    let mut talk = Talk::new(args.system.as_deref());
    loop {
        if is_terminal {
            prompt_for_input();
        }
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(Failure::new(NO_INPUT, format!("cannot read the input: {e}"))),
        }
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => return Ok(()),
            "/reset" => {
                talk = Talk::new(args.system.as_deref());
                note("forgotten");
            }
            command if command.starts_with('/') => note("there is /reset and /quit"),
            text => turn(&mut talk, text, answerer.as_mut(), args)?,
        }
    }
}

fn prompt_for_input() {
    eprint!("{}", if has_colour() { "\x1b[1m> \x1b[0m" } else { "> " });
    // A terminal that is gone shows in reading.
    let _ = std::io::stderr().flush();
}

/// One turn. What concerns this turn only is said, and the conversation goes on without it.
fn turn(
    talk: &mut Talk,
    text: &str,
    answerer: &mut dyn Answerer,
    args: &ChatArgs,
) -> Result<(), Failure> {
    talk.push("user", text);
    match attempt(talk, answerer, args) {
        Ok(answer) => {
            talk.push("assistant", &answer.text);
            explain_end(&answer).or_else(|failure| {
                note(&failure.message);
                Ok(())
            })
        }
        Err(failure) if failure.reason.is_some() => {
            talk.messages.pop();
            failure.report();
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Asks; forgets the oldest turns, aloud, for as long as the conversation does not fit.
fn attempt(
    talk: &mut Talk,
    answerer: &mut dyn Answerer,
    args: &ChatArgs,
) -> Result<Answer, Failure> {
    loop {
        let ask = with_sampling(
            Ask { messages: talk.messages.clone(), stream: true, ..Ask::default() },
            &args.sampling,
        );
        let mut progress = Progress::start("waiting for the answer");
        let mut printed = Printed::default();
        let outcome = answer(answerer, &ask, &mut |delta| {
            progress.end();
            printed.print(delta);
        });
        progress.end();
        printed.end_line()?;
        let does_not_fit = outcome.as_ref().is_err_and(is_too_long);
        if !does_not_fit || !talk.forget_oldest() {
            return outcome;
        }
    }
}

fn is_too_long(failure: &Failure) -> bool {
    failure
        .reason
        .as_ref()
        .is_some_and(|r| matches!(r.code, ErrorCode::MemoryInfeasible | ErrorCode::TooLarge))
}

/// The conversation so far.
struct Talk {
    messages: Vec<Message>,
    /// How many messages at the head are never forgotten.
    fixed: usize,
}

impl Talk {
    fn new(system: Option<&str>) -> Self {
        let mut talk = Self { messages: Vec::new(), fixed: 0 };
        if let Some(system) = system {
            talk.push("system", system);
            talk.fixed = 1;
        }
        talk
    }

    fn push(&mut self, role: &str, content: &str) {
        self.messages.push(Message::new(role, content));
        while self.messages.len() > limits::MESSAGES && self.forget_oldest() {}
    }

    /// Forgets the oldest question with its answer; says so. False if there is only one.
    fn forget_oldest(&mut self) -> bool {
        if self.messages.len() < self.fixed + 3 {
            return false;
        }
        self.messages.drain(self.fixed..self.fixed + 2);
        note("the conversation is too long for the model: its oldest question is forgotten");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_question_goes_with_its_answer_and_the_last_one_stays() {
        let mut talk = Talk::new(Some("be brief"));
        for (role, text) in [("user", "a"), ("assistant", "b"), ("user", "c")] {
            talk.push(role, text);
        }
        assert!(talk.forget_oldest());
        let left: Vec<&str> = talk.messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(left, ["be brief", "c"]);
        assert!(!talk.forget_oldest());
    }
}
