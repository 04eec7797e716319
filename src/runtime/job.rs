//! One admitted request on the inference thread: its tokens, and what becomes of logits.

use super::judge::Judge;
use super::logprobs::Logprobs;
use super::outbox::{Event, Origin, Outbox};
use super::shaped::{Closing, Shaped};
use super::shared::Seat;
use crate::core::cost::Costs;
use crate::core::request::{RequestId, StopReason, Time};
use crate::core::scheduler::{RowOutcome, Step, price};
use crate::core::session::Ticket;
use crate::sample::{
    Choices, Chosen, Masked, SampleError, Sampled, Sampler, Seen, TokenMask, Turn,
};
use crate::text::{Detokenizer, StopStrings, Stopped};
use crate::wire::{Ask, Reply};
use std::time::Duration;

/// A request with everything that the inference thread needs.
pub struct Job {
    /// What the scheduler is told.
    pub ticket: Ticket,
    /// The client's id.
    pub client_id: Option<String>,
    /// What was asked, until its first step: another model may have to be asked instead.
    pub errand: Option<Box<Errand>>,
    /// Whether it has waited for an exchange of the model.
    pub held: bool,
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    /// Draws tokens.
    pub sampler: Sampler,
    /// The form of the answer.
    pub form: Form,
    /// How sure its answer is thought to be.
    pub judge: Judge,
    /// Turns tokens into text.
    pub detokenizer: Detokenizer,
    /// Texts that end the answer.
    pub stops: StopStrings,
    /// Tokens that end the answer.
    pub eos: std::sync::Arc<[u32]>,
    /// Tokens that may be sampled at all.
    pub vocabulary: std::sync::Arc<TokenMask>,
    /// How likely its tokens were, if that is to be told.
    pub logprobs: Option<Logprobs>,
    /// Whether the client wants deltas.
    pub stream: bool,
    /// Where replies go.
    pub outbox: Outbox,
    /// Its place among the requests held.
    pub seat: Seat,
    /// What happened so far.
    pub progress: Progress,
}

/// The form of an answer.
pub enum Form {
    /// Any text.
    Free,
    /// A grammar's.
    Shaped(Box<Shaped>),
    /// One of some labels.
    Choice(Box<Choices>),
}

/// What was asked, and by whom.
#[derive(Debug)]
pub struct Errand {
    /// Without its id.
    pub ask: Ask,
    /// Who asked.
    pub origin: Origin,
}

/// What happened to a job so far.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) text: String,
    /// Bytes of it that were sent as deltas.
    shown: usize,
    /// The text of one token, before stop strings are looked for.
    piece: String,
    pub(super) stopped: bool,
    pub(super) started: Option<Time>,
    pub(super) first_token: Option<Time>,
    pub(super) failure: Option<String>,
    /// Of a shape: the logarithm of the probability of each token.
    pub(super) logs: Vec<f32>,
    /// From which token on an answer that was closed is not the model's.
    pub(super) closed_at: Option<usize>,
    /// Of a choice: logits that it has taken, and what came out.
    pub(super) turns: u32,
    pub(super) chosen: Option<Chosen>,
    /// What steps cost when the first of its own began.
    costs: Option<Costs>,
    /// What its steps would have taken by that, and what they took.
    priced: Duration,
    took: Duration,
}

impl Job {
    /// The request.
    pub const fn id(&self) -> RequestId {
        self.ticket.id
    }

    /// Takes note of its first step, and of what steps cost by then.
    pub fn started(&mut self, now: Time, costs: Costs) {
        if self.progress.started.is_none() {
            self.progress.started = Some(now);
            self.progress.costs = Some(costs);
            self.errand = None;
            self.outbox.began(self.id());
        }
    }

    /// Takes note of a step that it was part of.
    pub fn stepped(&mut self, step: &Step, took: Duration) {
        if let Some(costs) = &self.progress.costs {
            self.progress.priced += price(step, costs);
            self.progress.took += took;
        }
    }

    /// What its steps should have taken by what was known when they began, and what they took.
    pub const fn priced_and_took(&self) -> (Duration, Duration) {
        (self.progress.priced, self.progress.took)
    }

    /// Keeps why the engine failed, for the reply.
    pub fn failed(&mut self, why: String) {
        self.progress.failure = Some(why);
    }

    /// Draws the next token from `logits` (`[vocab_size]`, overwritten) and appends what the
    /// grammar then determines.
    pub fn advance(&mut self, logits: &mut [f32], now: Time) -> RowOutcome {
        let outcome = match &mut self.form {
            Form::Choice(_) => self.choose(logits),
            Form::Free | Form::Shaped(_) => self.write(logits),
        };
        if !matches!(outcome, RowOutcome::Turned(_)) {
            self.progress.first_token.get_or_insert(now);
        }
        outcome
    }

    fn fail(&mut self, why: String) -> RowOutcome {
        self.failed(why);
        RowOutcome::Ended(StopReason::Failed, 0)
    }

    /// Takes note of how likely labels are to go on, and turns to the next place where they do.
    fn choose(&mut self, logits: &mut [f32]) -> RowOutcome {
        let Form::Choice(choices) = &mut self.form else { return RowOutcome::Fed };
        self.progress.turns += 1;
        self.vocabulary.apply(logits);
        let turn = choices.take(logits, &self.eos);
        let chosen = match turn {
            Ok(Turn::Feed { back, token }) => {
                self.tokens.truncate(self.tokens.len() - back as usize);
                self.tokens.push(token);
                return RowOutcome::Turned(back);
            }
            Ok(Turn::Done) => choices.chosen(self.judge.temperature),
            Err(error) => Err(error),
        };
        match chosen {
            Ok(chosen) => {
                self.progress.text.push_str(&chosen.probabilities[chosen.best].0);
                self.progress.chosen = Some(chosen);
                self.show();
                RowOutcome::Ended(StopReason::Stop, 0)
            }
            Err(SampleError::NoToken) => self.fail("every label is impossible".to_owned()),
        }
    }

    fn write(&mut self, logits: &mut [f32]) -> RowOutcome {
        let outcome = match self.next_token(logits) {
            Ok(Some(drawn)) => self.append(drawn),
            Ok(None) => return RowOutcome::Ended(StopReason::Stop, 0),
            Err(why) => return self.fail(why),
        };
        let (has, left) = (self.generated() as usize, self.left());
        let closing = match (&mut self.form, outcome) {
            (Form::Shaped(shaped), RowOutcome::Grew(_)) => shaped.look(has, left),
            _ => None,
        };
        let outcome = match closing {
            Some(closing) => {
                let grown = closing.tokens.len() as u32;
                self.close(closing);
                RowOutcome::Ended(StopReason::Length, grown)
            }
            None => outcome,
        };
        let may_say = match &self.form {
            Form::Shaped(shaped) => shaped.may_say(has),
            Form::Free | Form::Choice(_) => true,
        };
        if may_say {
            self.show();
        }
        outcome
    }

    /// The next token; none if the grammar says that the answer is complete.
    fn next_token(&mut self, logits: &mut [f32]) -> Result<Option<Sampled>, String> {
        match &mut self.form {
            Form::Shaped(shaped) => match shaped.constraint.mask().map_err(|e| e.to_string())? {
                Masked::Tokens(mask) => mask.apply(logits),
                Masked::Stop => return Ok(None),
            },
            Form::Free | Form::Choice(_) => self.vocabulary.apply(logits),
        }
        let (prompt, answer) = self.tokens.split_at(self.ticket.prompt_tokens as usize);
        let drawn = self.sampler.sample(logits, Seen { prompt, answer });
        drawn.map(Some).map_err(|e| e.to_string())
    }

    fn append(&mut self, Sampled { token, logprob }: Sampled) -> RowOutcome {
        if self.eos.contains(&token) {
            return RowOutcome::Ended(StopReason::Stop, 0);
        }
        if let (Some(logprobs), Some(logprob)) = (&mut self.logprobs, logprob) {
            logprobs.drawn(token, logprob, self.sampler.top());
        }
        let mut grown = 0;
        let mut next = Some((token, logprob.unwrap_or(0.0)));
        let mut forced = heapless::Deque::<u32, FORCED_AT_ONCE>::new();
        while let Some((token, log)) = next {
            self.take(token, log);
            if let Some(logprobs) = self.logprobs.as_mut().filter(|_| grown > 0) {
                logprobs.forced(token);
            }
            grown += 1;
            if self.emit(token) {
                return RowOutcome::Ended(StopReason::Stop, grown);
            }
            if let Form::Shaped(shaped) = &mut self.form {
                let constraint = &mut shaped.constraint;
                if let Err(error) = constraint.advance(token) {
                    self.failed(error.to_string());
                    return RowOutcome::Ended(StopReason::Failed, grown);
                }
                if constraint.must_stop() {
                    return RowOutcome::Ended(StopReason::Stop, grown);
                }
                if forced.is_empty() {
                    let tokens = constraint.forced();
                    forced.extend(tokens.iter().copied().take(FORCED_AT_ONCE));
                }
            }
            if self.left() == 0 {
                break;
            }
            next = forced.pop_front().filter(|t| !self.eos.contains(t)).map(|t| (t, 0.0));
        }
        RowOutcome::Grew(grown)
    }

    fn take(&mut self, token: u32, log: f32) {
        self.tokens.push(token);
        if matches!(self.form, Form::Shaped(_)) {
            self.progress.logs.push(log);
        }
    }

    /// Ends an answer as its shape demands, with values that are not the model's.
    pub(super) fn close(&mut self, closing: Closing) {
        let keeps = closing.keeps;
        if keeps < self.generated() as usize {
            self.take_back(keeps);
        }
        for token in closing.tokens {
            self.take(token, f32::NEG_INFINITY);
            if let Some(logprobs) = &mut self.logprobs {
                logprobs.drawn(token, f32::NEG_INFINITY, &[]);
            }
            self.emit(token);
        }
        self.progress.closed_at = Some(keeps);
    }

    /// Writes the answer's first tokens anew: what came after them was never said.
    fn take_back(&mut self, keeps: usize) {
        let prompt = self.ticket.prompt_tokens as usize;
        let kept: Vec<u32> = self.tokens[prompt..prompt + keeps].to_vec();
        self.tokens.truncate(prompt + keeps);
        self.progress.logs.truncate(keeps);
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.truncate(keeps);
        }
        self.progress.text.clear();
        self.detokenizer.restart(&self.tokens[..prompt]);
        self.stops.restart();
        for token in kept {
            self.emit(token);
        }
    }

    /// Tokens that the answer may still get.
    pub(super) fn left(&self) -> u32 {
        self.ticket.max_new.saturating_sub(self.generated())
    }

    /// Appends the token's text; says whether a stop string is complete.
    fn emit(&mut self, token: u32) -> bool {
        let Progress { piece, text, .. } = &mut self.progress;
        piece.clear();
        self.detokenizer.push(token, piece);
        let stopped = self.stops.push(piece, text) != Stopped::No;
        self.progress.stopped = stopped;
        stopped
    }

    /// What the detokenizer and the stop strings still hold back.
    pub(super) fn flush(&mut self) {
        let Progress { piece, text, .. } = &mut self.progress;
        piece.clear();
        self.detokenizer.finish(piece);
        if self.stops.push(piece, text) == Stopped::No {
            self.stops.finish(text);
        }
        self.show();
    }

    /// Sends what was not sent of the text as a delta.
    fn show(&mut self) {
        let Progress { text, shown, .. } = &mut self.progress;
        if self.stream && *shown < text.len() {
            let news = text[*shown..].to_owned();
            *shown = text.len();
            let reply = Reply::Delta { id: self.client_id.clone(), text: news };
            self.outbox.delta(Event { request: self.id(), reply, tokens: 0 });
        }
    }

    /// Tokens of the answer; of a choice, logits that it took.
    pub fn generated(&self) -> u32 {
        match self.form {
            Form::Choice(_) => self.progress.turns,
            _ => (self.tokens.len() - self.ticket.prompt_tokens as usize) as u32,
        }
    }
}

/// The most forced tokens that are taken from the grammar at once; the rest follow.
const FORCED_AT_ONCE: usize = 64;
