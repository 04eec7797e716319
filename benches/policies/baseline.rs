//! How other servers decide, on the same machine: no admission test, no priorities. A request that
//! has no place in the queue is refused, and one that is not through by its deadline is dropped then,
//! since its client hangs up. Everything else they do as well as they can: decoding is batched, and
//! nothing waits while the engine is free.

use crate::world::Policy;
use slmd::core::cost::next_chunk;
use slmd::core::error::{ErrorCode, RejectReason};
use slmd::core::ledger::Ledger;
use slmd::core::plan::{ModelId, Slot};
use slmd::core::request::{RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, ModelPlan, Output, PlannedRow, RowOutcome, Step};
use slmd::core::session::Ticket;
use std::collections::VecDeque;
use std::time::Duration;

/// Who comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Whoever came first sits down first; those who sit are served together, prompts first, as by
    /// llama-server and ollama.
    Arrival,
    /// Whoever is due first, at every step (Liu and Layland 1973).
    Deadline,
}

/// What a policy does.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who comes first.
    pub order: Order,
    /// Requests that may wait; none: as many as come.
    pub queue: Option<usize>,
    /// The most sessions with a slot.
    pub sessions: u16,
    /// Whether those who come first take the slots of others, who are computed anew.
    pub evicts: bool,
    /// Whether it knows what steps cost, and drops a request once it would be late even alone.
    pub gives_up: bool,
}

/// A request that was let in.
#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    slot: Option<Slot>,
    /// Tokens in the slot.
    fed: u32,
    /// Tokens of prompt and answer.
    known: u32,
    /// Tokens in the step that runs.
    running: u32,
    /// The number of its last step.
    last_step: u64,
}

impl Entry {
    const fn new(ticket: Ticket) -> Self {
        let known = ticket.prompt_tokens;
        Self { ticket, slot: None, fed: 0, known, running: 0, last_step: 0 }
    }

    const fn pending(&self) -> u32 {
        self.known - self.fed
    }

    /// Tokens of the answer that may still come.
    const fn to_come(&self) -> u32 {
        self.ticket.max_new - (self.known - self.ticket.prompt_tokens)
    }
}

/// A policy by its rules, for a machine with one model.
#[derive(Debug)]
pub struct Baseline {
    rules: Rules,
    model: ModelPlan,
    ledger: Ledger,
    entries: Vec<Entry>,
    outputs: VecDeque<Output>,
    steps: u64,
}

impl Policy for Baseline {
    fn handle(&mut self, _: Time, input: Input<'_>) {
        match input {
            Input::Submit(ticket) => self.submit(ticket),
            Input::Stepped { rows, .. } => rows.iter().for_each(|row| self.stepped(*row)),
            Input::Cancel(id, reason) => self.finish(id, reason),
            Input::SlotFreed(slot) => self.ledger.release(slot),
            // They know of neither.
            Input::Pressure(_) | Input::Drain { .. } => {}
        }
    }

    fn poll(&mut self, now: Time) -> Output {
        self.drop_late(now);
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        self.seat();
        match self.rows() {
            rows if rows.is_empty() => Output::Idle(self.next_deadline()),
            rows => Output::Step(self.step(&rows)),
        }
    }

    fn kv_held_bytes(&self) -> u64 {
        self.ledger.held_bytes()
    }
}

impl Baseline {
    /// A policy for a machine with this model.
    pub fn new(rules: Rules, model: ModelPlan) -> Self {
        let slots = rules.sessions.min(model.caps.slots);
        Self {
            ledger: Ledger::new(ModelId(0), slots, model.slot_bytes),
            rules,
            model,
            entries: Vec::new(),
            outputs: VecDeque::new(),
            steps: 0,
        }
    }

    fn submit(&mut self, ticket: Ticket) {
        let waiting = self.entries.iter().filter(|e| e.slot.is_none()).count();
        if self.rules.queue.is_some_and(|queue| waiting >= queue + self.ledger.free()) {
            let reason = RejectReason::new(ErrorCode::Busy, "the queue is full");
            self.outputs.push_back(Output::Rejected(ticket.id, reason));
        } else {
            self.entries.push(Entry::new(ticket));
        }
    }

    fn stepped(&mut self, (id, outcome): (RequestId, RowOutcome)) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.ticket.id == id) else { return };
        let fed = std::mem::take(&mut entry.running);
        match outcome {
            RowOutcome::Again => return,
            RowOutcome::Fed => entry.fed += fed,
            RowOutcome::Turned(_) => unreachable!("no load here has choices"),
            RowOutcome::Grew(tokens) | RowOutcome::Ended(_, tokens) => {
                entry.fed += fed;
                entry.known += tokens;
            }
        }
        let full = entry.to_come() == 0;
        match outcome {
            RowOutcome::Ended(reason, _) => self.finish(id, reason),
            _ if full => self.finish(id, StopReason::Length),
            _ => {}
        }
    }

    fn finish(&mut self, id: RequestId, reason: StopReason) {
        if let Some(at) = self.entries.iter().position(|e| e.ticket.id == id) {
            let slot = self.entries.remove(at).slot;
            self.outputs.push_back(Output::Finished { id, reason, slot });
        }
    }

    fn drop_late(&mut self, now: Time) {
        let is_late = |e: &&Entry| {
            let sure = if self.rules.gives_up { self.alone(e) } else { Duration::ZERO };
            e.ticket.deadline.answer <= now || e.ticket.deadline.answer < now.after(sure)
        };
        let late: Vec<RequestId> =
            self.entries.iter().filter(is_late).map(|e| e.ticket.id).collect();
        late.into_iter().for_each(|id| self.finish(id, StopReason::Deadline));
    }

    /// What is left of it, if it had the engine to itself.
    fn alone(&self, entry: &Entry) -> Duration {
        let (costs, most) = (&self.model.costs, self.model.caps.max_chunk);
        let (fed, pending) = (entry.fed, entry.pending());
        costs.prefill(fed, pending, Duration::from_secs(1), most)
            + costs.decode_run(1, entry.known.into(), entry.to_come().saturating_sub(1))
    }

    fn next_deadline(&self) -> Option<Time> {
        self.entries.iter().map(|e| e.ticket.deadline.answer).min()
    }

    const fn turn(&self, entry: &Entry) -> (Time, RequestId) {
        let at = match self.rules.order {
            Order::Arrival => entry.ticket.arrived,
            Order::Deadline => entry.ticket.deadline.answer,
        };
        (at, entry.ticket.id)
    }

    /// The entries that fit, whoever comes first ahead.
    fn in_turn(&self, fits: impl Fn(&Entry) -> bool) -> Vec<usize> {
        let mut fitting: Vec<usize> =
            (0..self.entries.len()).filter(|&i| fits(&self.entries[i])).collect();
        fitting.sort_unstable_by_key(|&i| self.turn(&self.entries[i]));
        fitting
    }

    fn seat(&mut self) {
        for next in self.in_turn(|e| e.slot.is_none()) {
            if self.ledger.free() == 0 && self.rules.evicts {
                self.evict_after(next);
            }
            let Some(slot) = self.ledger.reserve() else { return };
            self.entries[next].slot = Some(slot);
        }
    }

    /// Frees the slot of whoever comes last, if that is after `next`.
    fn evict_after(&mut self, next: usize) {
        let Some(&last) = self.in_turn(|e| e.slot.is_some()).last() else { return };
        if self.turn(&self.entries[last]) > self.turn(&self.entries[next])
            && let Some(slot) = self.entries[last].slot.take()
        {
            self.entries[last].fed = 0;
            self.ledger.release(slot);
        }
    }

    /// Who runs the next step.
    fn rows(&self) -> Vec<usize> {
        let seated = self.in_turn(|e| e.slot.is_some());
        let is_prompt = |i: &&usize| self.entries[**i].pending() > 1;
        let alone = match self.rules.order {
            Order::Arrival => seated.iter().find(is_prompt),
            Order::Deadline => seated.first().filter(is_prompt),
        };
        if let Some(&alone) = alone {
            return vec![alone];
        }
        let mut rows: Vec<usize> = seated.into_iter().filter(|i| !is_prompt(&i)).collect();
        if self.rules.order == Order::Arrival {
            // All of them in turn, where a step has less room than there are slots.
            rows.sort_by_key(|&i| self.entries[i].last_step);
        }
        rows.truncate(usize::from(self.model.caps.max_rows));
        rows
    }

    fn step(&mut self, rows: &[usize]) -> Step {
        self.steps += 1;
        let row = |&index: &usize| {
            let entry = &mut self.entries[index];
            entry.running = next_chunk(entry.pending(), self.model.caps.max_chunk);
            entry.last_step = self.steps;
            PlannedRow {
                id: entry.ticket.id,
                slot: entry.slot.expect("rows are made of seated entries"),
                pos: entry.fed,
                count: entry.running,
                logits: entry.running == entry.pending(),
            }
        };
        rows.iter().map(row).collect()
    }
}
