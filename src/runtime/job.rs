//! One admitted request on the inference thread: its tokens, and what becomes of logits.

use super::logprobs::Logprobs;
use super::outbox::{Event, Origin, Outbox};
use super::shared::{Seat, Work};
use crate::core::cost::Costs;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{RequestId, StopReason, Time};
use crate::core::scheduler::{RowOutcome, Step, price};
use crate::core::session::Ticket;
use crate::sample::{Constraint, Masked, Sampled, Sampler, Seen, TokenMask};
use crate::text::{Detokenizer, StopStrings, Stopped};
use crate::wire::{Answer, Ask, Reply};
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
    /// The shape of the answer, if one was asked for.
    pub constraint: Option<Box<dyn Constraint>>,
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
    text: String,
    /// The text of one token, before stop strings are looked for.
    piece: String,
    stopped: bool,
    started: Option<Time>,
    first_token: Option<Time>,
    failure: Option<String>,
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
        let outcome = match self.next_token(logits) {
            Ok(Some(drawn)) => self.append(drawn),
            Ok(None) => RowOutcome::Ended(StopReason::Stop, 0),
            Err(why) => {
                self.failed(why);
                RowOutcome::Ended(StopReason::Failed, 0)
            }
        };
        self.progress.first_token.get_or_insert(now);
        outcome
    }

    /// The next token; none if the grammar says that the answer is complete.
    fn next_token(&mut self, logits: &mut [f32]) -> Result<Option<Sampled>, String> {
        match &mut self.constraint {
            None => self.vocabulary.apply(logits),
            Some(constraint) => match constraint.mask().map_err(|e| e.to_string())? {
                Masked::Tokens(mask) => mask.apply(logits),
                Masked::Stop => return Ok(None),
            },
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
        let mut next = Some(token);
        let mut forced = heapless::Deque::<u32, FORCED_AT_ONCE>::new();
        while let Some(token) = next {
            self.tokens.push(token);
            if let Some(logprobs) = self.logprobs.as_mut().filter(|_| grown > 0) {
                logprobs.forced(token);
            }
            grown += 1;
            if self.emit(token) {
                return RowOutcome::Ended(StopReason::Stop, grown);
            }
            if let Some(constraint) = &mut self.constraint {
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
            if self.generated() >= self.ticket.max_new {
                break;
            }
            next = forced.pop_front().filter(|t| !self.eos.contains(t));
        }
        RowOutcome::Grew(grown)
    }

    /// Appends the token's text; says whether a stop string is complete.
    fn emit(&mut self, token: u32) -> bool {
        let Progress { piece, text, .. } = &mut self.progress;
        let shown = text.len();
        piece.clear();
        self.detokenizer.push(token, piece);
        let stopped = self.stops.push(piece, text) != Stopped::No;
        self.progress.stopped = stopped;
        self.show(shown);
        stopped
    }

    /// What the detokenizer and the stop strings still hold back.
    fn flush(&mut self) {
        let Progress { piece, text, .. } = &mut self.progress;
        let shown = text.len();
        piece.clear();
        self.detokenizer.finish(piece);
        if self.stops.push(piece, text) == Stopped::No {
            self.stops.finish(text);
        }
        self.show(shown);
    }

    /// Sends the text from byte `shown` on as a delta.
    fn show(&mut self, shown: usize) {
        let text = &self.progress.text[shown..];
        if self.stream && !text.is_empty() {
            let reply = Reply::Delta { id: self.client_id.clone(), text: text.to_owned() };
            self.outbox.delta(Event { request: self.id(), reply, tokens: 0 });
        }
    }

    /// Tokens of the answer.
    pub fn generated(&self) -> u32 {
        (self.tokens.len() - self.ticket.prompt_tokens as usize) as u32
    }

    /// Tokens of prompt and answer that were computed; a prompt counts whole once it has begun.
    fn computed(&self) -> u32 {
        self.progress.started.map_or(0, |_| self.ticket.prompt_tokens + self.generated())
    }

    /// Sends the terminal reply; gives the code of an error.
    pub fn finish(mut self, reason: StopReason, now: Time) -> Option<ErrorCode> {
        if !self.progress.stopped {
            self.flush();
        }
        let id = self.client_id.take();
        let (request, error, tokens) = (self.id(), self.error(reason), self.computed());
        let code = error.as_ref().map(|e| e.code);
        let reply = match error {
            Some(reason) => Reply::Error { id, reason },
            None => Reply::Answer(Box::new(self.answer(id, reason, now))),
        };
        let Self { outbox, seat, .. } = self;
        // Who has heard the answer finds the seat free.
        drop(seat);
        outbox.finish(Event { request, reply, tokens });
        code
    }

    /// As it was before it was admitted; none if it has begun.
    pub fn into_work(self) -> Option<Work> {
        let Errand { ask, origin } = *self.errand?;
        Some(Work {
            id: self.ticket.id,
            ask: Ask { id: self.client_id, ..ask },
            origin,
            outbox: self.outbox,
            arrived: self.ticket.arrived,
            seat: self.seat,
            held: true,
        })
    }

    /// Refuses it before it ran.
    pub fn refuse(self, mut reason: RejectReason) {
        if self.held && matches!(reason.code, ErrorCode::DeadlineInfeasible | ErrorCode::Expired) {
            // It could have been met, had the model not been exchanged.
            reason.code = ErrorCode::Reloading;
            reason.message = format!("the model was exchanged: {}", reason.message);
        }
        let (request, id) = (self.id(), self.client_id);
        drop(self.seat);
        let reply = Reply::Error { id, reason };
        self.outbox.finish(Event { request, reply, tokens: 0 });
    }

    fn error(&self, reason: StopReason) -> Option<RejectReason> {
        let unfinished = self.constraint.is_some() || self.generated() == 0;
        let (code, message) = match reason {
            StopReason::Stop | StopReason::Length => return None,
            StopReason::Deadline if !unfinished => return None,
            StopReason::Deadline => (
                ErrorCode::DeadlineExceeded,
                match self.progress.text.as_str() {
                    "" => "the deadline passed before the answer began".to_owned(),
                    draft => format!("the deadline passed before the answer was complete: {draft}"),
                },
            ),
            StopReason::Cancelled => (ErrorCode::Cancelled, "cancelled".to_owned()),
            StopReason::ShuttingDown => (ErrorCode::ShuttingDown, "slmd is going down".to_owned()),
            StopReason::Failed => {
                (ErrorCode::Internal, self.progress.failure.clone().unwrap_or_default())
            }
        };
        Some(RejectReason::new(code, message))
    }

    fn answer(&mut self, id: Option<String>, reason: StopReason, now: Time) -> Answer {
        let arrived = self.ticket.arrived;
        let ms = |t: Time| t.since(arrived).as_micros() as f32 / 1e3;
        Answer {
            id,
            finish_reason: reason.finish_reason(),
            cause: reason.cause(),
            truncated: reason != StopReason::Stop,
            prompt_tokens: self.ticket.prompt_tokens,
            completion_tokens: self.generated(),
            cached_tokens: 0,
            queue_ms: self.progress.started.map_or(0.0, ms),
            ttft_ms: self.progress.first_token.map_or(0.0, ms),
            total_ms: ms(now),
            logprobs: self.logprobs.take().map(|kept| kept.told(self.detokenizer.table())),
            text: std::mem::take(&mut self.progress.text),
        }
    }
}

/// The most forced tokens that are taken from the grammar at once; the rest follow.
const FORCED_AT_ONCE: usize = 64;
