//! How a request ends: its answer, or why there is none.

use super::job::{Errand, Form, Job};
use super::judge::{Weighed, filled};
use super::model::Reading;
use super::outbox::Event;
use super::shared::Work;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{OnDeadline, StopReason, Time};
use crate::core::tool::{TOOL_CALLS, ToolCall};
use crate::sample::{Prose, Said};
use crate::wire::{Answer, Ask, Choice, Confidence, Reply};

impl Job {
    /// Sends the terminal reply; gives the code of an error.
    pub fn finish(mut self, reason: StopReason, now: Time) -> Option<ErrorCode> {
        if matches!(reason, StopReason::Deadline | StopReason::Length) {
            self.complete();
        }
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

    /// Tokens of prompt and answer that were computed; a prompt counts whole once it has begun.
    fn computed(&self) -> u32 {
        self.progress.started.map_or(0, |_| self.ticket.prompt_tokens + self.generated())
    }

    /// Gives an answer that was cut the shape that it must have, if that is wanted.
    fn complete(&mut self) {
        let (has, left) = (self.generated() as usize, self.left());
        let Form::Shaped(shaped) = &mut self.form else { return };
        let is_wanted = shaped.on_deadline == OnDeadline::Complete && has > 0;
        if is_wanted && self.progress.closed_at.is_none() && !shaped.constraint.is_complete() {
            let closing = shaped.close(has, left);
            self.close(closing);
        }
    }

    /// Whether the answer has the form that was asked for.
    fn has_its_form(&mut self) -> bool {
        let is_closed = self.progress.closed_at.is_some();
        match &mut self.form {
            Form::Free => true,
            Form::Shaped(shaped) => is_closed || shaped.constraint.is_complete(),
            Form::Choice(_) => self.progress.chosen.is_some(),
        }
    }

    fn error(&mut self, reason: StopReason) -> Option<RejectReason> {
        let (code, message) = match reason {
            StopReason::Stop => return None,
            StopReason::Deadline if self.generated() == 0 => (
                ErrorCode::DeadlineExceeded,
                "the deadline passed before the answer began".to_owned(),
            ),
            StopReason::Deadline | StopReason::Length if self.has_its_form() => return None,
            StopReason::Deadline => (
                ErrorCode::DeadlineExceeded,
                "the deadline passed before the answer was complete".to_owned(),
            ),
            StopReason::Length => {
                let most = self.ticket.max_new;
                (ErrorCode::Incomplete, format!("the answer was not complete after {most} tokens"))
            }
            StopReason::Cancelled => (ErrorCode::Cancelled, "cancelled".to_owned()),
            StopReason::ShuttingDown => (ErrorCode::ShuttingDown, "slmd is going down".to_owned()),
            StopReason::Failed => {
                (ErrorCode::Internal, self.progress.failure.clone().unwrap_or_default())
            }
        };
        let is_cut = matches!(code, ErrorCode::DeadlineExceeded | ErrorCode::Incomplete);
        let draft = Some(&self.progress.text).filter(|text| is_cut && !text.is_empty());
        let draft = draft.map(|text| Box::from(text.as_str()));
        Some(RejectReason { draft, ..RejectReason::new(code, message) })
    }

    fn answer(&mut self, id: Option<String>, reason: StopReason, now: Time) -> Answer {
        let arrived = self.ticket.arrived;
        let ms = |t: Time| t.since(arrived).as_micros() as f32 / 1e3;
        let completion_tokens = self.generated();
        let said = self.said();
        let (confidence, filled) = self.judged(said.is_some());
        let choice = self.progress.chosen.take();
        let text = std::mem::take(&mut self.progress.text);
        let (text, tool_calls) = match said {
            Some(Said { prose, calls }) => (prose, self.named(calls)),
            None => (text, Vec::new()),
        };
        let calls = !tool_calls.is_empty();
        Answer {
            id,
            finish_reason: if calls { TOOL_CALLS } else { reason.finish_reason() },
            cause: if calls { TOOL_CALLS } else { reason.cause() },
            truncated: reason != StopReason::Stop && !calls,
            prompt_tokens: self.ticket.prompt_tokens,
            completion_tokens,
            cached_tokens: 0,
            queue_ms: self.progress.started.map_or(0.0, ms),
            ttft_ms: self.progress.first_token.map_or(0.0, ms),
            total_ms: ms(now),
            logprobs: self.logprobs.take().map(|kept| kept.told(self.detokenizer.table())),
            abstained: confidence.as_ref().and_then(|c| self.judge.abstains(c.overall)),
            confidence,
            choice: choice.map(|c| Choice { probabilities: c.probabilities, margin: c.margin }),
            filled,
            text,
            tool_calls,
            escalated: false,
            answered_by: None,
        }
    }

    /// The answer as calls of tools, if it is that.
    fn said(&self) -> Option<Said> {
        let Form::Shaped(shaped) = &self.form else { return None };
        let Reading::Calls(calls) = &shaped.reading else { return None };
        let answer = &self.tokens[self.ticket.prompt_tokens as usize..];
        calls.read(answer, self.detokenizer.table())
    }

    /// Calls with ids: nine letters and digits, as the templates of Mistral's models want them.
    fn named(&self, calls: Vec<(String, String)>) -> Vec<ToolCall> {
        let request = self.id().0 & 0x0FFF_FFFF;
        let call = |(i, (name, arguments))| ToolCall {
            id: format!("{request:07x}{i:02x}"),
            name,
            arguments,
        };
        calls.into_iter().enumerate().map(call).collect()
    }

    /// How sure the answer is, and what of it is not the model's.
    fn judged(&self, calls: bool) -> (Option<Confidence>, Vec<String>) {
        let is_json = match (&self.form, &self.progress.chosen) {
            (Form::Shaped(shaped), _) => match &shaped.reading {
                Reading::Text => false,
                Reading::Json => true,
                Reading::Calls(_) if calls => false,
                Reading::Calls(shape) if matches!(shape.prose, Prose::Json(_)) => true,
                // Free text has no figure that means something.
                Reading::Calls(_) => return (None, Vec::new()),
            },
            (Form::Choice(_), Some(chosen)) => {
                let overall = chosen.probabilities[chosen.best].1;
                return (Some(Confidence { overall, fields: None }), Vec::new());
            }
            _ => return (None, Vec::new()),
        };
        let table = self.detokenizer.table();
        let answer = &self.tokens[self.ticket.prompt_tokens as usize..];
        let text: Vec<u8> = answer.iter().flat_map(|&id| table.bytes(id)).copied().collect();
        let weigh = |(&id, &log)| Weighed { bytes: table.bytes(id).len(), log };
        let weighed: Vec<Weighed> = answer.iter().zip(&self.progress.logs).map(weigh).collect();
        let filled = self.progress.closed_at.map(|at| {
            let from = weighed[..at].iter().map(|token| token.bytes).sum();
            filled(&text, from, is_json)
        });
        let confidence = self.judge.confidence(&text, &weighed, is_json);
        (Some(confidence), filled.unwrap_or_default())
    }
}
