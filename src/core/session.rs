//! One request on its way: queued, prefilling, decoding.

use super::plan::{ModelId, Slot};
use super::request::{Deadline, Priority, RequestId, Time};

/// A request as the scheduler sees it: counts and bounds, no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The request.
    pub id: RequestId,
    /// The model that runs it.
    pub model: ModelId,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// The most tokens of the answer, at least 1.
    pub max_new: u32,
    /// The least that `max_new` may be lowered to, to meet the deadline; none: it is the client's own,
    /// and stays.
    pub least: Option<u32>,
    /// The most tokens of the answer that are in the slot at once, where it goes back in between; none:
    /// all of them.
    pub depth: Option<u32>,
    /// Who goes first.
    pub priority: Priority,
    /// The bounds to meet.
    pub deadline: Deadline,
    /// When it arrived.
    pub arrived: Time,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Without a slot.
    Queued,
    /// The prompt is being fed.
    Prefill,
    /// The answer grows.
    Decode,
}

/// A request that was admitted.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) ticket: Ticket,
    pub(super) slot: Option<Slot>,
    /// Tokens in the KV cache.
    pub(super) fed: u32,
    /// Tokens of prompt and answer.
    pub(super) known: u32,
    /// Tokens to feed before it decodes: the prompt, and what is computed anew.
    pub(super) prefill: u32,
    /// Tokens in the step that runs now.
    pub(super) running: u32,
    /// Tokens of the answer that were taken back.
    pub(super) undone: u32,
    /// The number of the last step that it was part of.
    pub(super) last_step: u64,
    /// Whether it must run alone, since a step that it shared went wrong.
    pub(super) alone: bool,
    /// Whether it was promised to come behind all who were there.
    pub(super) last: bool,
}

impl Session {
    pub(super) const fn new(ticket: Ticket) -> Self {
        let known = ticket.prompt_tokens;
        Self {
            ticket,
            slot: None,
            fed: 0,
            known,
            prefill: known,
            running: 0,
            undone: 0,
            last_step: 0,
            alone: false,
            last: false,
        }
    }

    /// Where it stands.
    pub const fn phase(&self) -> Phase {
        match self.slot {
            None => Phase::Queued,
            Some(_) if self.fed < self.prefill => Phase::Prefill,
            Some(_) => Phase::Decode,
        }
    }

    /// Takes its slot: what was in it is computed anew.
    pub(super) const fn unseat(&mut self) -> Option<Slot> {
        self.fed = 0;
        self.prefill = self.known;
        self.slot.take()
    }

    /// Tokens to feed before the next logits.
    pub const fn pending(&self) -> u32 {
        self.known - self.fed
    }

    /// Tokens of the answer so far, those taken back included.
    pub const fn generated(&self) -> u32 {
        self.known + self.undone - self.ticket.prompt_tokens
    }

    /// Takes back the last tokens of the answer.
    pub(super) fn go_back(&mut self, tokens: u32) {
        self.known -= tokens;
        self.fed = self.fed.min(self.known);
        // Else it would count as not having begun to decode, where it had been computed anew.
        self.prefill = self.prefill.min(self.known);
        self.undone += tokens;
    }

    /// Tokens of the answer still to come, at most.
    pub const fn to_come(&self) -> u32 {
        self.ticket.max_new.saturating_sub(self.generated())
    }

    /// Whether it was promised its deadline.
    pub const fn is_promised(&self) -> bool {
        !self.ticket.deadline.best_effort
    }

    /// The order of service where time is short: by deadline, then by arrival.
    pub(super) const fn due(&self) -> (Time, RequestId) {
        (self.ticket.deadline.answer, self.ticket.id)
    }
}
