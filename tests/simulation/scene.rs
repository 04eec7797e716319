//! Some machine, and some load on it, by a seed.

use crate::machine_of;
use crate::random::Random;
use crate::world::{AnswerShape, Fate, Record, World, caps, ticket};
use slmd::core::cost::{Costs, Shape};
use slmd::core::error::RejectReason;
use slmd::core::plan::ModelId;
use slmd::core::request::{Priority, RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, ModelPlan, Output, Scheduler};
use slmd::core::session::Ticket;
use std::time::Duration;

/// Longer than any deadline.
const TO_THE_END: Duration = Duration::from_secs(7_200);

/// How requests arrive.
#[derive(Debug, Clone, Copy)]
enum Arrivals {
    /// Evenly spread gaps.
    Even,
    /// Exponential gaps.
    Poisson,
    /// Several at a time, then nothing.
    Bursts,
}

/// What requests there are.
#[derive(Debug, Clone, Copy)]
enum Mix {
    /// Of all kinds.
    Any,
    /// Long ones with time until the machine is full, and short urgent ones without any between them.
    Siege,
    /// Whoever is refused asks again with what it was told to need: every promise is the tightest
    /// that can be given.
    Brim,
}

/// Some machine, and some load on it.
pub struct Scene {
    pub random: Random,
    pub world: World<Scheduler>,
    arrivals: Arrivals,
    mix: Mix,
    /// The mean gap, in microseconds.
    pub gap_us: u64,
    /// Deadlines between that of a lone request and this many times as long, in tenths.
    patience: u64,
    requests: u64,
    models: u8,
    /// Whether some answers have the shape of a grammar, which forces tokens.
    grammars: bool,
    /// Clients; a request is of the one that its id says. None of them goes away if there is one.
    clients: u64,
}

/// A model of some size; a step of one token takes `step_us`.
pub fn model(random: &mut Random, step_us: u64) -> ModelPlan {
    let slots = 1 + random.below(4) as u16;
    let rows = 1 + random.below(u64::from(slots)) as u8;
    let mut part = |percent: u64| (step_us * random.below(percent)) as f64 / 100.0;
    let shape = Shape {
        decode_us: step_us as f64,
        row_us: part(120),
        attend_us: part(50) / 512.0,
        chunk_us: part(100),
        token_us: 1.0 + part(60),
        token_attend_us: part(10) / 512.0,
    };
    ModelPlan { caps: caps(slots, rows), costs: Costs::new(shape), slot_bytes: 1 + random.below(9) }
}

impl Scene {
    pub fn new(seed: u64, requests: u64) -> Self {
        let mut random = Random(seed);
        // Some engines are so slow that no step stays within what is wanted.
        let slow = if random.one_in(8) { 10 } else { 1 };
        let step_us = (500 + random.below(20_000)) * slow;
        let models = if random.one_in(3) { 2 } else { 1 };
        let plans: Vec<ModelPlan> = (0..u64::from(models))
            .map(|second| {
                let step_us = step_us * (1 + second * (1 + random.below(6))) / (1 + second * 2);
                model(&mut random, step_us)
            })
            .collect();
        let world = machine_of(plans, random.below(12) as usize);
        let arrivals =
            [Arrivals::Even, Arrivals::Poisson, Arrivals::Bursts][random.below(3) as usize];
        let mix = [Mix::Any, Mix::Any, Mix::Any, Mix::Siege, Mix::Brim][random.below(5) as usize];
        // From half of what the machine can do to many times that.
        let gap_us = step_us * (5 + random.below(150));
        let patience = 11 + random.below(100);
        let (grammars, clients) = (random.one_in(3), 1 + 5 * random.below(2));
        Self { random, world, arrivals, mix, gap_us, patience, requests, models, grammars, clients }
    }

    /// Steps scatter by so many per cent around their price.
    pub fn scatter(&mut self, percent: u64) {
        let mut random = Random(self.random.next());
        let weather = move |took: Duration, _, _| {
            took * (1000 - 10 * percent as u32 + random.below(20 * percent + 1) as u32) / 1000
        };
        self.world.weather(Box::new(weather));
    }

    pub fn gap(&mut self) -> Duration {
        let mean = self.gap_us;
        let us = match self.arrivals {
            Arrivals::Even => self.random.below(2 * mean),
            Arrivals::Poisson => {
                let uniform = (self.random.below(1 << 30) + 1) as f64 / (1u64 << 30) as f64;
                (-uniform.ln() * mean as f64) as u64
            }
            Arrivals::Bursts if self.random.one_in(6) => 6 * mean,
            Arrivals::Bursts => 0,
        };
        Duration::from_micros(us)
    }

    pub fn ticket(&mut self, id: u64) -> Ticket {
        let random = &mut self.random;
        let long = random.one_in(6);
        let (prompt, answer) = if long { (300, 200) } else { (80, 40) };
        let mut t = ticket(id, self.world.now, 1, 1, 0);
        t.model = ModelId(random.below(u64::from(self.models)) as u8);
        t.prompt_tokens = 1 + random.below(prompt) as u32;
        t.max_new = 1 + random.below(answer) as u32;
        t.priority = Priority::ALL[random.below(3) as usize];
        t.least = random.one_in(4).then_some(1 + t.prompt_tokens % t.max_new.min(8));
        t.deadline.best_effort = random.one_in(5);
        let first_token = random.one_in(4);
        let mut patience = 10 + random.below(self.patience);
        if matches!(self.mix, Mix::Siege) {
            patience = self.besiege(&mut t);
        }
        self.bound(&mut t, patience, first_token);
        t
    }

    /// Makes it one of a siege; gives its patience.
    fn besiege(&mut self, ticket: &mut Ticket) -> u64 {
        let random = &mut self.random;
        ticket.deadline.best_effort = random.one_in(10);
        if random.one_in(4) {
            ticket.priority = Priority::Urgent;
            ticket.prompt_tokens = 1 + random.below(30) as u32;
            ticket.max_new = 1 + random.below(10) as u32;
            return 12 + random.below(20);
        }
        ticket.priority = [Priority::Normal, Priority::Background][random.below(2) as usize];
        ticket.prompt_tokens = 200 + random.below(100) as u32;
        ticket.max_new = 100 + random.below(100) as u32;
        30 + random.below(100)
    }

    /// Bounds of so many tenths of what the request takes alone.
    fn bound(&mut self, t: &mut Ticket, patience: u64, first_token: bool) {
        let now = self.world.now;
        let alone = self.world.alone(t.model, t.prompt_tokens, t.max_new).as_micros() as u64;
        let allowed = alone * patience / 10 + 1_000;
        t.deadline.answer = now.after(Duration::from_micros(allowed));
        if first_token {
            let first = allowed * (1 + self.random.below(10)) / 10;
            t.deadline.first_token = Some(now.after(Duration::from_micros(first)));
        }
    }

    pub fn run(&mut self) {
        for id in 0..self.requests {
            let mut ticket = self.ticket(id);
            if matches!(self.mix, Mix::Brim) {
                ticket = self.with_what_it_needs(ticket);
            }
            self.submit(ticket);
            if self.random.one_in(10) {
                self.world.cancel(RequestId(self.random.below(id + 1)));
            }
            if self.clients > 1 && self.random.one_in(15) {
                self.disconnect();
            }
            let gap = self.gap();
            self.world.run_until(self.world.now.after(gap));
        }
        self.world.run_until(self.world.now.after(TO_THE_END));
    }

    fn submit(&mut self, ticket: Ticket) {
        let random = &mut self.random;
        // Half of them go on to their last token.
        let natural = if random.one_in(2) { u64::MAX } else { 100 };
        let natural = random.below(natural).min(10_000) as u32;
        let is_shaped = self.grammars && random.one_in(2);
        let shape = is_shaped.then(|| match random.next() {
            seed if seed.is_multiple_of(3) => AnswerShape::Choice(Random(seed)),
            seed => AnswerShape::Grammar(Random(seed)),
        });
        self.world.submit_shaped(ticket, natural, shape);
    }

    /// The same request as a client sends it that was refused for want of time.
    fn with_what_it_needs(&self, mut ticket: Ticket) -> Ticket {
        if let Some(reason) = refusal(&self.world, ticket)
            && let Some(needs_ms) = reason.needs_ms
        {
            give(
                &mut ticket,
                &reason,
                self.world.now.after(Duration::from_millis(needs_ms.into())),
            );
        }
        ticket
    }

    /// A client goes away: all that it asked for is cancelled at once.
    fn disconnect(&mut self) {
        let client = self.random.below(self.clients);
        let ids = self.world.records.iter().filter(|(_, record)| record.fate.is_none());
        let of_client = ids.map(|(id, _)| *id).filter(|id| id.0 % self.clients == client);
        for id in of_client.collect::<Vec<_>>() {
            self.world.cancel(id);
        }
    }

    /// What holds whatever happens.
    pub fn check(&self) {
        let world = &self.world;
        assert!(world.policy.is_empty(), "something never ended");
        assert_eq!(world.policy.kv_held_bytes(), 0, "a slot leaked");
        for (id, record) in &world.records {
            match record.fate.as_ref().expect("every request ends") {
                Fate::Rejected(_) => assert_eq!(record.grown, 0, "{id:?} was refused, and ran"),
                Fate::Ended(reason, at) => {
                    let late = at.since(record.ticket.deadline.answer);
                    assert!(late <= world.longest_step, "{id:?} ended {late:?} late");
                    let is_cut = *reason == StopReason::Deadline;
                    assert!(!(is_cut && record.is_met()), "{id:?} was cut, and counts as met");
                }
            }
        }
    }

    /// How many promises there were, and which of them were broken.
    pub fn promises(&self) -> (u64, Vec<RequestId>) {
        let is_cancelled =
            |r: &Record| matches!(r.fate, Some(Fate::Ended(StopReason::Cancelled, _)));
        let promised = self
            .world
            .records
            .values()
            .filter(|r| r.is_admitted() && !r.ticket.deadline.best_effort && !is_cancelled(r));
        let broken = promised.clone().filter(|r| !r.is_met()).map(|r| r.ticket.id).collect();
        (promised.count() as u64, broken)
    }
}

/// What the scheduler would say to this request now.
pub fn refusal(world: &World<Scheduler>, ticket: Ticket) -> Option<RejectReason> {
    let mut scheduler = world.policy.clone();
    scheduler.handle(world.now, Input::Submit(ticket));
    loop {
        match scheduler.poll(world.now) {
            Output::Rejected(id, reason) if id == ticket.id => return Some(reason),
            Output::Rejected(..) | Output::Finished { .. } => {}
            Output::Step(_) | Output::Idle(_) => return None,
        }
    }
}

/// Gives a request the bound that was said to be enough.
pub fn give(ticket: &mut Ticket, reason: &RejectReason, enough: Time) {
    if reason.message.starts_with("the first token") {
        ticket.deadline.first_token = Some(enough);
    } else {
        ticket.deadline.first_token = None;
        ticket.deadline.answer = enough;
    }
}
