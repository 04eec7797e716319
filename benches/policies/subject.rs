//! The policies that are compared, and the machines that they run on.

use crate::baseline::{Baseline, Order, Rules};
use crate::world::{Policy, caps};
use slmd::core::cost::{Costs, Shape};
use slmd::core::plan::Caps;
use slmd::core::request::Time;
use slmd::core::scheduler::{Input, Limits, ModelPlan, Output, Scheduler};
use std::time::Duration;

/// Requests that may wait, where that is bounded.
const QUEUE: usize = 16;
/// `latency.max-step-ms`: a chunk of 64 tokens, which is the most for all policies.
const MAX_STEP: Duration = Duration::from_millis(60);
/// SmolLM2-135M in int4 on two cores.
const SHAPE: Shape = Shape {
    decode_us: 5_000.0,
    row_us: 1_200.0,
    attend_us: 2.0,
    chunk_us: 3_000.0,
    token_us: 800.0,
    token_attend_us: 0.0,
};

/// A machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub name: &'static str,
    pub slots: u16,
    pub rows: u8,
}

/// The machines; the first is the one that is drawn.
pub const MACHINES: [Machine; 2] = [
    Machine { name: "4 slots, 4 rows", slots: 4, rows: 4 },
    Machine { name: "1 slot, 1 row", slots: 1, rows: 1 },
];

impl Machine {
    pub fn model(self) -> ModelPlan {
        let caps: Caps = caps(self.slots, self.rows);
        ModelPlan { caps, costs: Costs::new(SHAPE), slot_bytes: 1 }
    }
}

/// A policy.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub name: &'static str,
    /// None: slmd's own.
    rules: Option<Rules>,
}

impl Subject {
    const fn baseline(name: &'static str, rules: Rules) -> Self {
        Self { name, rules: Some(rules) }
    }

    pub fn policy(self, machine: Machine) -> Box<dyn Policy> {
        let model = machine.model();
        match self.rules {
            Some(rules) => Box::new(Baseline::new(rules, model)),
            None => Box::new(Scheduler::new(
                vec![model],
                Limits { queue: QUEUE, max_step: MAX_STEP, delivery: Duration::ZERO },
            )),
        }
    }

    pub const fn is_slmd(self) -> bool {
        self.rules.is_none()
    }

    /// Whether it is another policy than those before it on this machine.
    pub fn differs_on(self, machine: Machine) -> bool {
        machine.slots > 1 || self.rules.is_none_or(|rules| rules.sessions > 1)
    }
}

const FIFO: Rules = Rules {
    order: Order::Arrival,
    queue: None,
    sessions: u16::MAX,
    evicts: false,
    gives_up: false,
};
const EDF: Rules = Rules { order: Order::Deadline, queue: Some(QUEUE), evicts: true, ..FIFO };

/// slmd, and the others.
pub const SUBJECTS: [Subject; 7] = [
    Subject { name: "slmd", rules: None },
    Subject::baseline("FIFO, batched", FIFO),
    Subject::baseline("FIFO, batched, queue of 16", Rules { queue: Some(QUEUE), ..FIFO }),
    Subject::baseline("FIFO, one at a time", Rules { sessions: 1, ..FIFO }),
    Subject::baseline("EDF", EDF),
    Subject::baseline("EDF, slots are kept", Rules { evicts: false, ..EDF }),
    Subject::baseline("EDF, drops the hopeless", Rules { gives_up: true, ..EDF }),
];

/// The policy that has most done where no deadline presses: prompts first, then all together.
pub const FASTEST: Subject = SUBJECTS[1];

impl Policy for Box<dyn Policy> {
    fn handle(&mut self, now: Time, input: Input<'_>) {
        (**self).handle(now, input);
    }

    fn poll(&mut self, now: Time) -> Output {
        (**self).poll(now)
    }

    fn kv_held_bytes(&self) -> u64 {
        (**self).kv_held_bytes()
    }
}
