//! One policy under one load, in virtual time, and what came of it.

use crate::load::{Load, Offer};
use crate::random::Random;
use crate::report::Spread;
use crate::subject::{FASTEST, Machine, Subject};
use crate::world::{Policy, Record, World};
use serde_json::{Value, json};
use slmd::core::plan::ModelId;
use slmd::core::request::{Priority, Time};
use std::time::Duration;

/// Of answers that end early, one token in so many that were allowed.
const EARLY: u32 = 4;
/// Steps take their price, give or take so many per cent.
const SCATTER_PERCENT: u64 = 4;
/// Longer than any load.
const UNHURRIED: f64 = 1e6;

/// How long answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// As long as they may be.
    Whole,
    /// A quarter of that.
    Early,
}

impl Answers {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "to max_tokens",
            Self::Early => "a quarter",
        }
    }

    fn natural_len(self, max_new: u32) -> u32 {
        match self {
            Self::Whole => u32::MAX,
            Self::Early => (max_new / EARLY).max(1),
        }
    }
}

/// What a machine does in a second, of this mix and with no deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub requests_per_s: f64,
    pub tokens_per_s: f64,
}

/// The seeds, and how many requests each has.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub seeds: u64,
    pub requests: usize,
}

/// What came of one policy under one load.
#[derive(Debug, Default)]
pub struct Outcome {
    pub offered: usize,
    pub admitted: usize,
    pub met: usize,
    urgent: usize,
    urgent_met: usize,
    /// Of answers that were met before the last request came.
    useful_tokens: u32,
    /// From the first request to the last.
    offering_s: f64,
    /// From its arrival to the end of what was not met, in milliseconds.
    gone_ms: Vec<f64>,
}

type Simulated = World<Box<dyn Policy>>;

fn world(subject: Subject, machine: Machine, seed: u64) -> Simulated {
    let mut random = Random(seed ^ 0x5ca7);
    let most = 10 * SCATTER_PERCENT as u32;
    let weather = move |took: Duration, _, _| {
        took * (1000 - most + random.below(u64::from(2 * most + 1)) as u32) / 1000
    };
    World::new(subject.policy(machine), vec![machine.model()]).with_weather(Box::new(weather))
}

/// Submits everything at once, unhurried: it never has to wait for work.
pub fn capacity(machine: Machine, answers: Answers, scale: Scale) -> Capacity {
    let mut world = world(FASTEST, machine, 0);
    for (id, offer) in (0..).zip(Load::new(u64::MAX).take(scale.requests)) {
        let unhurried = Offer { slack: UNHURRIED, ..offer };
        submit(&mut world, id, unhurried, Time(0), answers);
    }
    world.run_until(Time(u64::MAX / 2));
    let tokens: u32 = world.records.values().map(|r| r.grown).sum();
    let took_s = world.busy.as_secs_f64();
    Capacity {
        requests_per_s: scale.requests as f64 / took_s,
        tokens_per_s: f64::from(tokens) / took_s,
    }
}

/// Offers requests at `rate_per_s` on average, at absolute times, for every seed.
pub fn run(
    subject: Subject,
    machine: Machine,
    answers: Answers,
    rate_per_s: f64,
    scale: Scale,
) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 0..scale.seeds {
        let mut world = world(subject, machine, seed);
        let mut at_s = 0.0;
        for (id, offer) in (0..).zip(Load::new(seed).take(scale.requests)) {
            at_s += offer.gap / rate_per_s;
            let at = Time((at_s * 1e6) as u64);
            world.run_until(at);
            submit(&mut world, id, offer, at, answers);
        }
        let last = Time((at_s * 1e6) as u64);
        world.run_until(world.now.after(Duration::from_secs(3_600)));
        assert_eq!(world.policy.kv_held_bytes(), 0, "a slot leaked");
        outcome.add(&world, last);
    }
    outcome
}

fn submit(world: &mut Simulated, id: u64, offer: Offer, at: Time, answers: Answers) {
    let alone = world.alone(ModelId(0), offer.prompt_tokens, offer.max_new);
    world.submit(offer.ticket(id, at, alone), answers.natural_len(offer.max_new));
}

impl Outcome {
    fn add(&mut self, world: &Simulated, last: Time) {
        self.offering_s += last.since(Time(0)).as_secs_f64();
        for record in world.records.values() {
            let ended = record.ended.expect("every request ends");
            let is_urgent = record.ticket.priority == Priority::Urgent;
            self.offered += 1;
            self.urgent += usize::from(is_urgent);
            self.admitted += usize::from(record.is_admitted());
            if !record.is_met() {
                let gone = ended.since(record.ticket.arrived);
                self.gone_ms.push(gone.as_secs_f64() * 1e3);
                continue;
            }
            self.met += 1;
            self.urgent_met += usize::from(is_urgent);
            self.useful_tokens += useful(record, ended, last);
        }
    }

    /// Of everything offered, from 0 to 100.
    pub fn met_percent(&self) -> f64 {
        percent(self.met, self.offered)
    }

    /// Of what was let in.
    pub fn kept_percent(&self) -> f64 {
        percent(self.met, self.admitted)
    }

    fn useful_percent(&self, capacity: Capacity) -> f64 {
        100.0 * f64::from(self.useful_tokens) / (capacity.tokens_per_s * self.offering_s)
    }

    pub const HEAD: [&str; 6] = [
        "let in %",
        "met %",
        "urgent met %",
        "met of let in %",
        "useful tokens %",
        "gone after ms, median",
    ];

    pub fn cells(&self, capacity: Capacity) -> [String; 6] {
        let gone = Spread::of(&self.gone_ms).median;
        [
            format!("{:.1}", percent(self.admitted, self.offered)),
            format!("{:.1}", self.met_percent()),
            format!("{:.1}", percent(self.urgent_met, self.urgent)),
            format!("{:.2}", self.kept_percent()),
            format!("{:.1}", self.useful_percent(capacity)),
            if gone.is_nan() { "-".to_owned() } else { format!("{gone:.0}") },
        ]
    }

    pub fn json(&self, capacity: Capacity) -> Value {
        json!({
            "offered": self.offered, "admitted": self.admitted, "met": self.met,
            "urgent": self.urgent, "urgent_met": self.urgent_met,
            "met_percent": self.met_percent(), "kept_percent": self.kept_percent(),
            "useful_tokens_percent": self.useful_percent(capacity),
            "gone_ms": Spread::of(&self.gone_ms).json(),
        })
    }
}

fn useful(record: &Record, ended: Time, last: Time) -> u32 {
    if ended <= last { record.grown } else { 0 }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
