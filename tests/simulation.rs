//! The scheduler in virtual time: thousands of seeded loads, and what must hold in all of them.

#[path = "common/random.rs"]
mod random;
#[path = "common/world.rs"]
mod world;

use random::Random;
use slmd::core::cost::{Costs, Load, Shape};
use slmd::core::error::{ErrorCode, RejectReason};
use slmd::core::plan::ModelId;
use slmd::core::pressure::Pressure;
use slmd::core::request::{Priority, RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, Limits, ModelPlan, Output, Scheduler};
use slmd::core::session::Ticket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use world::{Fate, World, caps, ticket};

const STEP: Duration = Duration::from_millis(5);
const MAX_STEP: Duration = Duration::from_millis(40);

type Machine = World<Scheduler>;

fn shape() -> Shape {
    Shape::flat(STEP, Duration::from_millis(1), Duration::from_millis(1))
}

fn machine_of(models: Vec<ModelPlan>, queue: usize) -> Machine {
    let scheduler = Scheduler::new(models.clone(), Limits { queue, max_step: MAX_STEP });
    World::new(scheduler, models)
}

fn machine(slots: u16, rows: u8, queue: usize) -> Machine {
    let plan = ModelPlan { caps: caps(slots, rows), costs: Costs::new(shape()), slot_bytes: 1 };
    machine_of(vec![plan], queue)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

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

/// Some machine, and some load on it.
struct Scene {
    random: Random,
    world: Machine,
    arrivals: Arrivals,
    /// The mean gap, in microseconds.
    gap_us: u64,
    /// Deadlines between that of a lone request and this many times as long, in tenths.
    patience: u64,
    requests: u64,
}

impl Scene {
    fn new(seed: u64, requests: u64) -> Self {
        let mut random = Random(seed);
        let slots = 1 + random.below(4) as u16;
        let rows = 1 + random.below(u64::from(slots)) as u8;
        let step_us = 500 + random.below(20_000);
        let part =
            |random: &mut Random, percent: u64| (step_us * random.below(percent)) as f64 / 100.0;
        let shape = Shape {
            decode_us: step_us as f64,
            row_us: part(&mut random, 120),
            attend_us: part(&mut random, 50) / 512.0,
            chunk_us: part(&mut random, 100),
            token_us: 1.0 + part(&mut random, 60),
            token_attend_us: part(&mut random, 10) / 512.0,
        };
        let plan = ModelPlan { caps: caps(slots, rows), costs: Costs::new(shape), slot_bytes: 1 };
        let world = machine_of(vec![plan], random.below(12) as usize);
        let arrivals =
            [Arrivals::Even, Arrivals::Poisson, Arrivals::Bursts][random.below(3) as usize];
        // From half of what the machine can do to many times that.
        let gap_us = step_us * (5 + random.below(150));
        let patience = 11 + random.below(100);
        Self { random, world, arrivals, gap_us, patience, requests }
    }

    /// Steps scatter by so many per cent around their price.
    fn scatter(&mut self, percent: u64) {
        let mut random = Random(self.random.next());
        let weather = move |took: Duration, _, _| {
            took * (1000 - 10 * percent as u32 + random.below(20 * percent + 1) as u32) / 1000
        };
        self.world.weather(Box::new(weather));
    }

    fn gap(&mut self) -> Duration {
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

    fn ticket(&mut self, id: u64) -> Ticket {
        let random = &mut self.random;
        let long = random.one_in(6);
        let (prompt, answer) = if long { (300, 200) } else { (80, 40) };
        let (prompt, max_new) = (1 + random.below(prompt) as u32, 1 + random.below(answer) as u32);
        let alone = self.world.alone(ModelId(0), prompt, max_new).as_micros() as u64;
        let allowed = alone * (10 + random.below(self.patience)) / 10 + 1_000;
        let mut t = ticket(id, self.world.now, prompt, max_new, 0);
        t.deadline.answer = self.world.now.after(Duration::from_micros(allowed));
        if random.one_in(4) {
            let first = allowed * (1 + random.below(10)) / 10;
            t.deadline.first_token = Some(self.world.now.after(Duration::from_micros(first)));
        }
        t.priority = Priority::ALL[random.below(3) as usize];
        t.flexible = random.one_in(4);
        t.deadline.best_effort = random.one_in(5);
        t
    }

    fn run(&mut self) {
        for id in 0..self.requests {
            let ticket = self.ticket(id);
            // Half of them go on to their last token.
            let natural = if self.random.one_in(2) { u64::MAX } else { 100 };
            let natural = self.random.below(natural).min(10_000) as u32;
            self.world.submit(ticket, natural);
            if self.random.one_in(10) {
                self.world.cancel(RequestId(self.random.below(id + 1)));
            }
            let gap = self.gap();
            self.world.run_until(self.world.now.after(gap));
        }
        self.world.run_until(self.world.now.after(Duration::from_secs(600)));
    }

    /// What holds whatever happens.
    fn check(&self) {
        let world = &self.world;
        assert!(world.policy.is_empty(), "something never ended");
        assert_eq!(world.policy.kv_held_bytes(), 0, "a slot leaked");
        for (id, record) in &world.records {
            match record.fate.as_ref().expect("every request ends") {
                Fate::Rejected(_) => assert_eq!(record.grown, 0, "{id:?} was refused, and ran"),
                Fate::Ended(_, at) => {
                    let late = at.since(record.ticket.deadline.answer);
                    assert!(late <= world.longest_step, "{id:?} ended {late:?} late");
                }
            }
        }
    }

    /// How many of the promises there were, and how many of them were broken.
    fn promises(&self) -> (u64, Vec<RequestId>) {
        let promised = self.world.records.values().filter(|r| {
            let cancelled = matches!(r.fate, Some(Fate::Ended(StopReason::Cancelled, _)));
            r.is_admitted() && !r.ticket.deadline.best_effort && !cancelled
        });
        let broken = promised.clone().filter(|r| !r.is_met()).map(|r| r.ticket.id).collect();
        (promised.count() as u64, broken)
    }
}

/// Runs `body` for `count` seeds, or for as many as `$SLMD_SEEDS` says, or for the one of
/// `$SLMD_SEED`.
fn seeds(count: u64, test: &str, body: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse().ok());
    let (only, count) = (number("SLMD_SEED"), number("SLMD_SEEDS").unwrap_or(count));
    for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| body(seed));
        assert!(run.is_ok(), "replay with SLMD_SEED={seed} cargo test --test simulation {test}");
    }
}

#[test]
fn promises_hold_while_steps_cost_what_they_did() {
    let given = AtomicU64::new(0);
    seeds(2_000, "promises", |seed| {
        let mut load = Scene::new(seed, 100);
        load.scatter(seed % 5);
        load.run();
        load.check();
        let (promised, broken) = load.promises();
        given.fetch_add(promised, Ordering::Relaxed);
        for id in &broken {
            eprintln!("{:?}", load.world.records[id]);
        }
        assert_eq!(broken, [], "of {promised} promises");
    });
    println!("{} promises, none broken", given.into_inner());
}

#[test]
fn promises_hold_under_heat_too() {
    seeds(300, "heat", |seed| {
        let mut load = Scene::new(seed, 60);
        let random = &mut load.random;
        let pressure = Pressure {
            stretch_percent: 100 + random.below(100) as u32,
            background_percent: random.below(101) as u8,
            rest_percent: random.below(60) as u8,
        };
        load.world.policy.handle(Time(0), Input::Pressure(pressure));
        load.run();
        load.check();
        assert_eq!(load.promises().1, []);
    });
}

#[test]
fn after_a_slowdown_nothing_ends_more_than_a_step_late() {
    seeds(300, "slowdown", |seed| {
        let mut load = Scene::new(seed, 60);
        let mut random = Random(seed ^ 0xabcd);
        let from = Time(load.gap_us * random.below(60));
        let factor = 2 + random.below(6) as u32;
        let until = from.after(Duration::from_micros(load.gap_us * 20));
        load.world.weather(Box::new(move |took, now, step| match () {
            () if now >= from && now < until => took * factor,
            // And a stall once in a while.
            () if step % 500 == 499 => took * 50,
            () => took,
        }));
        load.run();
        load.check();
    });
}

/// What the scheduler would say to this request now.
fn refusal(world: &Machine, ticket: Ticket) -> Option<RejectReason> {
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

#[test]
fn what_a_refused_request_is_told_to_need_is_enough() {
    let told = AtomicU64::new(0);
    seeds(300, "enough", |seed| {
        let mut load = Scene::new(seed, 0);
        for id in 0..80 {
            let mut t = load.ticket(id);
            t.flexible = false;
            let now = load.world.now;
            if let Some(reason) = refusal(&load.world, t)
                && let Some(needs_ms) = reason.needs_ms
            {
                let enough = now.after(ms(needs_ms.into()));
                let mut asked = t;
                if reason.message.starts_with("the first token") {
                    asked.deadline.first_token = Some(enough);
                } else {
                    asked.deadline.first_token = None;
                    asked.deadline.answer = enough;
                }
                assert_eq!(refusal(&load.world, asked), None, "after {reason:?}");
                told.fetch_add(1, Ordering::Relaxed);
            }
            load.world.submit(t, 10_000);
            let gap = load.gap();
            load.world.run_until(load.world.now.after(gap));
        }
    });
    assert!(told.into_inner() > 100 || std::env::var("SLMD_SEED").is_ok());
}

#[test]
fn sessions_take_turns_step_by_step() {
    let mut world = machine(2, 1, 4);
    world.submit(ticket(1, world.now, 10, 20, 60_000), 99);
    world.submit(ticket(2, world.now, 10, 20, 60_000), 99);
    world.run_until(Time(1_000_000));
    let switches = world.order.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(switches >= 36, "{switches} switches in {:?}", world.order);
}

#[test]
fn sessions_of_one_priority_share_their_steps() {
    let mut world = machine(4, 4, 4);
    for id in 0..4 {
        world.submit(ticket(id, world.now, 10, 100, 60_000), 999);
    }
    world.run_until(Time(10_000_000));
    // Four prompts of 14 ms each, then steps of four rows.
    let shared = ms(4 * 14) + (STEP + ms(3)) * 100;
    assert!(world.busy <= shared, "{:?}", world.busy);
}

/// Two slots of background work that was promised its deadline, and an urgent prompt.
fn urgent_over(background_deadline_ms: u64) -> (Machine, Time) {
    let mut world = machine(2, 2, 8);
    for id in 1..=4 {
        let mut slow = ticket(id, world.now, 100, 100, background_deadline_ms);
        slow.priority = Priority::Background;
        world.submit(slow, 999);
    }
    world.run_until(Time(400_000));
    let mut urgent = ticket(9, world.now, 10, 5, 1_000);
    urgent.priority = Priority::Urgent;
    let asked = world.now;
    world.submit(urgent, 999);
    world.run_until(Time(20_000_000));
    (world, asked)
}

#[test]
fn an_urgent_request_waits_for_one_step_at_most_even_without_a_free_slot() {
    let (world, asked) = urgent_over(15_000);
    let first = world.records[&RequestId(9)].first_token.expect("it was served").since(asked);
    assert!(first <= MAX_STEP + ms(14), "{first:?}");
    for id in 1..=4 {
        assert!(world.records[&RequestId(id)].is_met(), "{:?}", world.records[&RequestId(id)]);
    }
}

#[test]
fn an_urgent_request_breaks_no_promise() {
    // As tight as four sessions of two can be: no time to compute one of them anew.
    let (world, _) = urgent_over(2_020);
    let admitted = (1..=4).filter(|id| world.records[&RequestId(*id)].is_admitted());
    let broken = admitted.filter(|id| !world.records[&RequestId(*id)].is_met()).count();
    assert_eq!(broken, 0);
    let urgent = &world.records[&RequestId(9)];
    assert!(!urgent.is_admitted() || urgent.is_met(), "{urgent:?}");
}

#[test]
fn background_work_is_slow_under_load_but_never_starved() {
    let mut world = machine(2, 2, 16);
    let mut slow = ticket(1_000_000, world.now, 10, 50, 3_600_000);
    slow.priority = Priority::Background;
    slow.deadline.best_effort = true;
    world.submit(slow, 999);
    for id in 0..2_000 {
        let mut t = ticket(id, world.now, 10, 10, 3_600_000);
        t.deadline.best_effort = true;
        world.submit(t, 999);
        world.run_until(world.now.after(ms(20)));
        if world.records[&slow.id].fate.is_some() {
            break;
        }
    }
    let record = &world.records[&slow.id];
    assert!(matches!(record.fate, Some(Fate::Ended(StopReason::Length, _))), "{record:?}");
    // Fifty steps of five milliseconds, at a tenth of the time.
    assert!(world.now < Time(6_000_000), "after {:?}", world.now);
}

#[test]
fn heat_pauses_background_work_and_nothing_else() {
    let mut world = machine(2, 1, 8);
    let paused = Pressure { background_percent: 0, ..Pressure::default() };
    world.policy.handle(world.now, Input::Pressure(paused));
    let mut slow = ticket(1, world.now, 10, 10, 5_000);
    slow.priority = Priority::Background;
    world.submit(slow, 99);
    slow.id = RequestId(2);
    slow.deadline.best_effort = true;
    world.submit(slow, 99);
    world.submit(ticket(3, world.now, 10, 10, 5_000), 99);
    world.run_until(Time(2_000_000));
    assert_eq!(world.refusal(1), Some(ErrorCode::Busy));
    assert!(world.records[&RequestId(3)].is_met());
    assert_eq!(world.records[&RequestId(2)].grown, 0, "it ran");
    world.policy.handle(world.now, Input::Pressure(Pressure::default()));
    world.run_until(Time(3_000_000));
    assert!(world.records[&RequestId(2)].is_met());
}

#[test]
fn heat_gives_background_work_a_share_and_lets_the_engine_rest() {
    let ended = |pressure: Pressure, priority: Priority| {
        let mut world = machine(1, 1, 8);
        world.policy.handle(world.now, Input::Pressure(pressure));
        let mut t = ticket(1, world.now, 10, 100, 3_600_000);
        t.priority = priority;
        t.deadline.best_effort = true;
        world.submit(t, 999);
        world.run_until(Time(60_000_000));
        match world.fate(1) {
            Fate::Ended(StopReason::Length, at) => at.0 as f64 / 1e6,
            other => panic!("{other:?}"),
        }
    };
    let free = ended(Pressure::default(), Priority::Background);
    let quarter = Pressure { background_percent: 25, ..Pressure::default() };
    let rests = Pressure { rest_percent: 50, ..Pressure::default() };
    let ratio = |seconds: f64| (seconds / free * 10.0).round() / 10.0;
    assert!((3.8..=4.0).contains(&ratio(ended(quarter, Priority::Background))));
    assert_eq!(ratio(ended(quarter, Priority::Normal)), 1.0);
    assert!((1.9..=2.0).contains(&ratio(ended(rests, Priority::Normal))));
    assert_eq!(ratio(ended(rests, Priority::Urgent)), 1.0);
}

#[test]
fn a_longer_estimate_refuses_what_a_cool_machine_would_take() {
    let code = |stretch_percent| {
        let mut world = machine(1, 1, 4);
        let pressure = Pressure { stretch_percent, ..Pressure::default() };
        world.policy.handle(world.now, Input::Pressure(pressure));
        world.submit(ticket(1, world.now, 10, 100, 700), 999);
        world.run_until(Time(1_000_000));
        world.refusal(1)
    };
    assert_eq!((code(100), code(150)), (None, Some(ErrorCode::DeadlineInfeasible)));
}

#[test]
fn a_session_that_fails_takes_no_other_with_it() {
    let mut world = machine(4, 4, 4);
    for id in 0..4 {
        world.submit(ticket(id, world.now, 10, 50, 60_000), 999);
    }
    world.run_until(Time(150_000));
    world.poisoned = Some(RequestId(2));
    world.run_until(Time(10_000_000));
    for id in [0, 1, 3] {
        assert!(world.records[&RequestId(id)].is_met(), "{:?}", world.records[&RequestId(id)]);
    }
    assert!(matches!(world.fate(2), Fate::Ended(StopReason::Failed, _)));
}

#[test]
fn what_cannot_be_met_is_refused_with_figures_and_best_effort_gets_in() {
    let mut world = machine(1, 1, 4);
    world.submit(ticket(1, world.now, 100, 100, 300), 99);
    let mut best = ticket(2, world.now, 100, 100, 300);
    best.deadline.best_effort = true;
    world.submit(best, 999);
    let mut shorter = ticket(3, world.now, 10, 100, 300);
    shorter.flexible = true;
    world.submit(shorter, 999);
    world.run_until(Time(1_000_000));
    let Fate::Rejected(reason) = world.fate(1) else { panic!("{:?}", world.fate(1)) };
    assert_eq!(reason.code, ErrorCode::DeadlineInfeasible);
    // 100 tokens in two chunks, then 99 steps: 608 ms and the margin.
    assert!((608..=680).contains(&reason.needs_ms.expect("a figure")), "{reason:?}");
    assert!(matches!(world.fate(2), Fate::Ended(StopReason::Deadline, _)));
    assert!(matches!(world.fate(3), Fate::Ended(StopReason::Length, _)), "{:?}", world.fate(3));
}

#[test]
fn a_first_token_bound_is_a_promise_too() {
    let mut world = machine(2, 2, 4);
    let mut first = ticket(1, world.now, 200, 10, 10_000);
    first.deadline.first_token = Some(world.now.after(ms(100)));
    world.submit(first, 99);
    world.submit(ticket(2, world.now, 200, 100, 10_000), 999);
    let mut second = ticket(3, world.now, 10, 10, 10_000);
    second.deadline.first_token = Some(world.now.after(ms(60)));
    world.submit(second, 99);
    world.run_until(Time(10_000_000));
    let Fate::Rejected(reason) = world.fate(1) else { panic!("{:?}", world.fate(1)) };
    assert!(reason.message.starts_with("the first token needs"), "{reason}");
    assert!(world.records[&RequestId(3)].is_met(), "{:?}", world.records[&RequestId(3)]);
}

#[test]
fn too_long_for_the_context_is_told_what_fits() {
    let mut world = machine(1, 1, 4);
    world.submit(ticket(1, world.now, 500, 100, 60_000), 99);
    let Output::Rejected(_, reason) = world.policy.poll(world.now) else { panic!() };
    assert_eq!((reason.code, reason.max_tokens_that_fit), (ErrorCode::MemoryInfeasible, Some(12)));
}

#[test]
fn a_full_queue_is_busy_and_draining_ends_everything() {
    let mut world = machine(1, 1, 1);
    for id in 1..=3 {
        let mut t = ticket(id, world.now, 10, 100, 60_000);
        t.deadline.best_effort = true;
        world.submit(t, 999);
    }
    world.policy.handle(world.now, Input::Drain { until: Time(100_000) });
    world.submit(ticket(4, world.now, 1, 1, 60_000), 9);
    world.run_until(Time(200_000));
    assert_eq!(world.refusal(3), Some(ErrorCode::Busy));
    assert_eq!(world.refusal(4), Some(ErrorCode::ShuttingDown));
    assert!(matches!(world.fate(1), Fate::Ended(StopReason::ShuttingDown, _)));
    assert!(world.policy.is_empty());
}

#[test]
fn prices_follow_a_slowdown() {
    let mut world = machine(2, 1, 4).with_weather(Box::new(|took, now, _| match now.0 {
        100_000.. => took * 5,
        _ => took,
    }));
    world.submit(ticket(1, world.now, 10, 100, 700), 999);
    world.run_until(Time(2_000_000));
    let Fate::Ended(StopReason::Deadline, at) = world.fate(1) else { panic!() };
    assert!(at.since(Time(700_000)) <= STEP * 5);
    let step = world.policy.costs(ModelId(0)).step(Load::Decode { rows: 1, positions: 0 });
    assert!(step > STEP * 2, "{step:?}");
    world.submit(ticket(2, world.now, 10, 100, 700), 999);
    world.run_until(Time(3_000_000));
    assert_eq!(world.refusal(2), Some(ErrorCode::DeadlineInfeasible));
}
