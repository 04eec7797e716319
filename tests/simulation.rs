//! The scheduler in virtual time: thousands of seeded loads, and what must hold in all of them.

#[path = "common/random.rs"]
mod random;

use random::Random;
use slmd::core::cost::Costs;
use slmd::core::error::ErrorCode;
use slmd::core::plan::{Caps, ModelId, Rollback, Shapes, StopGrain};
use slmd::core::request::{Deadline, Priority, RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, Limits, ModelPlan, Output, RowOutcome, Scheduler, Step};
use slmd::core::session::Ticket;
use std::collections::BTreeMap;
use std::time::Duration;

const DECODE: Duration = Duration::from_millis(5);
const TOKEN: Duration = Duration::from_millis(1);
const CONTEXT: u32 = 512;

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Rejected(ErrorCode),
    Ended(StopReason, Time),
}

struct World {
    now: Time,
    scheduler: Scheduler,
    tickets: BTreeMap<RequestId, Ticket>,
    /// How many tokens the model would say before its end-of-sequence token.
    natural_len: BTreeMap<RequestId, u32>,
    grown: BTreeMap<RequestId, u32>,
    fates: BTreeMap<RequestId, Fate>,
    order: Vec<RequestId>,
    slowdown: u32,
}

impl World {
    fn new(slots: u16, rows: u8, queue: usize) -> Self {
        let caps = Caps {
            max_rows: rows,
            multi_token_rows: 1,
            mixed: false,
            shapes: Shapes::Any,
            rollback: Rollback::AnyLen,
            all_logits: false,
            stop: StopGrain::Step,
            context_tokens: CONTEXT,
            max_chunk: 64,
            slots,
            vocab_size: 100,
        };
        let plan = ModelPlan { caps, costs: Costs::new(DECODE, TOKEN), slot_bytes: 1 };
        let limits = Limits { queue, max_step: Duration::from_millis(40) };
        Self {
            now: Time(0),
            scheduler: Scheduler::new(vec![plan], limits),
            tickets: BTreeMap::new(),
            natural_len: BTreeMap::new(),
            grown: BTreeMap::new(),
            fates: BTreeMap::new(),
            order: Vec::new(),
            slowdown: 1,
        }
    }

    fn submit(&mut self, ticket: Ticket, natural_len: u32) {
        self.tickets.insert(ticket.id, ticket);
        self.natural_len.insert(ticket.id, natural_len);
        self.scheduler.handle(self.now, Input::Submit(ticket));
    }

    /// Runs until there is nothing to do before `until`.
    fn run_until(&mut self, until: Time) {
        while self.now < until {
            match self.scheduler.poll(self.now) {
                Output::Rejected(id, reason) => self.end(id, Fate::Rejected(reason.code)),
                Output::Finished { id, reason, slot } => {
                    self.end(id, Fate::Ended(reason, self.now));
                    if let Some(slot) = slot {
                        self.scheduler.handle(self.now, Input::SlotFreed(slot));
                    }
                }
                Output::Step(step) => self.step(&step),
                Output::Idle(next) => self.now = next.map_or(until, |t| t.min(until)),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let tokens: u32 = step.iter().map(|r| r.count).sum();
        assert!(step.iter().all(|r| r.pos + r.count <= CONTEXT), "beyond the context: {step:?}");
        assert!(step.len() == 1 || step.iter().all(|r| r.count == 1), "mixed step: {step:?}");
        for pair in step.windows(2) {
            assert_eq!(pair[0].slot.index + 1, pair[1].slot.index, "slots apart: {step:?}");
        }
        let took = (DECODE + TOKEN * (tokens - 1)) * self.slowdown;
        assert!(took <= Duration::from_millis(40) * self.slowdown, "a step of {took:?}");
        self.now = self.now.after(took);
        let rows: Vec<_> = step
            .iter()
            .map(|row| {
                self.order.push(row.id);
                let grown = self.grown.entry(row.id).or_default();
                let outcome = match row.logits {
                    false => RowOutcome::Fed,
                    true if *grown >= self.natural_len[&row.id] => {
                        RowOutcome::Ended(StopReason::Stop, 0)
                    }
                    true => {
                        *grown += 1;
                        RowOutcome::Grew(1)
                    }
                };
                (row.id, outcome)
            })
            .collect();
        self.scheduler.handle(self.now, Input::Stepped { took, rows: &rows });
    }

    fn end(&mut self, id: RequestId, fate: Fate) {
        let before = self.fates.insert(id, fate);
        assert_eq!(before, None, "{id:?} has two final states");
    }

    fn fate(&self, id: u64) -> &Fate {
        &self.fates[&RequestId(id)]
    }
}

fn ticket(id: u64, now: Time, prompt: u32, max_new: u32, deadline_ms: u64) -> Ticket {
    Ticket {
        id: RequestId(id),
        model: ModelId(0),
        prompt_tokens: prompt,
        max_new,
        flexible: false,
        priority: Priority::Normal,
        deadline: Deadline {
            answer: now.after(Duration::from_millis(deadline_ms)),
            first_token: None,
            best_effort: false,
        },
        arrived: now,
    }
}

fn random_load(seed: u64) {
    let mut random = Random(seed);
    let slots = 1 + random.below(4) as u16;
    let rows = 1 + random.below(u64::from(slots)) as u8;
    let mut world = World::new(slots, rows, random.below(8) as usize);
    let spread = 10 + random.below(400);
    for id in 0..60 {
        let mut t = ticket(
            id,
            world.now,
            1 + random.below(200) as u32,
            1 + random.below(100) as u32,
            20 + random.below(3_000),
        );
        t.priority = Priority::ALL[random.below(3) as usize];
        t.flexible = random.below(3) == 0;
        t.deadline.best_effort = random.below(5) == 0;
        world.submit(t, random.below(150) as u32);
        if random.below(10) == 0 {
            let victim = RequestId(random.below(id + 1));
            world.scheduler.handle(world.now, Input::Cancel(victim, StopReason::Cancelled));
        }
        let gap = Duration::from_millis(random.below(spread));
        world.run_until(world.now.after(gap));
    }
    world.run_until(world.now.after(Duration::from_secs(60)));
    assert!(world.scheduler.is_empty(), "something never ended");
    assert_eq!(world.scheduler.kv_held_bytes(), 0, "a slot leaked");
    for (id, t) in &world.tickets {
        match &world.fates[id] {
            Fate::Rejected(_) | Fate::Ended(StopReason::Cancelled, _) => {}
            Fate::Ended(reason, at) => {
                let late = at.since(t.deadline.answer);
                assert!(late <= Duration::from_millis(40), "{id:?} ended {late:?} late");
                assert!(
                    t.deadline.best_effort || *reason != StopReason::Deadline,
                    "{id:?} was promised its deadline and missed it: {t:?}"
                );
            }
        }
    }
}

#[test]
fn random_loads_keep_the_promise() {
    let only = std::env::var("SLMD_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = only.map_or(0..2_000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| random_load(seed));
        assert!(run.is_ok(), "replay with SLMD_SEED={seed} cargo test --test simulation random");
    }
}

#[test]
fn sessions_take_turns_step_by_step() {
    let mut world = World::new(2, 1, 4);
    world.submit(ticket(1, world.now, 10, 20, 60_000), 99);
    world.submit(ticket(2, world.now, 10, 20, 60_000), 99);
    world.run_until(Time(1_000_000));
    let switches = world.order.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(switches >= 36, "{switches} switches in {:?}", world.order);
}

#[test]
fn an_urgent_request_goes_first_and_waits_for_one_step_at_most() {
    let mut world = World::new(2, 1, 4);
    let mut slow = ticket(1, world.now, 300, 100, 60_000);
    slow.priority = Priority::Background;
    world.submit(slow, 999);
    world.run_until(Time(50_000));
    let mut urgent = ticket(2, world.now, 10, 5, 1_000);
    urgent.priority = Priority::Urgent;
    let asked = world.now;
    world.submit(urgent, 999);
    world.run_until(Time(10_000_000));
    let Fate::Ended(StopReason::Length, at) = world.fate(2) else { panic!("{:?}", world.fate(2)) };
    assert!(at.since(asked) <= Duration::from_millis(14 + 4 * 5), "{:?}", at.since(asked));
    assert!(matches!(world.fate(1), Fate::Ended(StopReason::Length, _)));
}

#[test]
fn what_cannot_be_met_is_refused_with_figures_and_best_effort_gets_in() {
    let mut world = World::new(1, 1, 4);
    world.submit(ticket(1, world.now, 100, 100, 300), 99);
    assert_eq!(
        match world.scheduler.poll(world.now) {
            Output::Rejected(_, reason) => (reason.code, reason.needs_ms.is_some()),
            other => panic!("{other:?}"),
        },
        (ErrorCode::DeadlineInfeasible, true)
    );
    let mut best = ticket(2, world.now, 100, 100, 300);
    best.deadline.best_effort = true;
    world.submit(best, 999);
    let mut shorter = ticket(3, world.now, 10, 100, 300);
    shorter.flexible = true;
    world.submit(shorter, 999);
    world.run_until(Time(1_000_000));
    assert!(matches!(world.fate(2), Fate::Ended(StopReason::Deadline, _)));
    assert!(matches!(world.fate(3), Fate::Ended(StopReason::Length, _)), "{:?}", world.fate(3));
}

#[test]
fn too_long_for_the_context_is_told_what_fits() {
    let mut world = World::new(1, 1, 4);
    world.submit(ticket(1, world.now, 500, 100, 60_000), 99);
    let Output::Rejected(_, reason) = world.scheduler.poll(world.now) else { panic!() };
    assert_eq!((reason.code, reason.max_tokens_that_fit), (ErrorCode::MemoryInfeasible, Some(12)));
}

#[test]
fn a_full_queue_is_busy_and_draining_ends_everything() {
    let mut world = World::new(1, 1, 1);
    for id in 1..=3 {
        let mut t = ticket(id, world.now, 10, 100, 60_000);
        t.deadline.best_effort = true;
        world.submit(t, 999);
    }
    world.scheduler.handle(world.now, Input::Drain { until: Time(100_000) });
    world.submit(ticket(4, world.now, 1, 1, 60_000), 9);
    world.run_until(Time(200_000));
    assert_eq!(*world.fate(3), Fate::Rejected(ErrorCode::Busy));
    assert_eq!(*world.fate(4), Fate::Rejected(ErrorCode::ShuttingDown));
    assert!(matches!(world.fate(1), Fate::Ended(StopReason::ShuttingDown, _)));
    assert!(world.scheduler.is_empty());
}

#[test]
fn after_a_slowdown_nothing_is_more_than_a_step_late_and_prices_follow() {
    let mut world = World::new(2, 1, 4);
    world.submit(ticket(1, world.now, 10, 100, 700), 999);
    world.run_until(Time(100_000));
    world.slowdown = 5;
    world.run_until(Time(2_000_000));
    let Fate::Ended(StopReason::Deadline, at) = world.fate(1) else { panic!() };
    assert!(at.since(Time(700_000)) <= DECODE * 5);
    assert!(world.scheduler.costs(ModelId(0)).decode() > DECODE * 2);
    world.submit(ticket(2, world.now, 10, 100, 700), 999);
    world.run_until(Time(3_000_000));
    assert_eq!(*world.fate(2), Fate::Rejected(ErrorCode::DeadlineInfeasible));
}
