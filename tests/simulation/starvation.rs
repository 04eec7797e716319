//! Nobody waits for ever: promised work has its deadline, and what promises leave of the engine's time is
//! shared by best-effort work.
//!
//! The bound for a background request, alone of its class among best-effort work that never ends, by the
//! rules of `scheduler::share`. It is owed a tenth of what others take, and has at worst overdrawn by
//! [`CREDIT`] when it comes. While it sits, others run only as long as it has nothing to its credit: ten
//! times what it ran itself, and what it had overdrawn. Before that it may have to wait until the first
//! of those who hold a slot is through, which is at most all that these take. So until it is through the
//! engine works for other best-effort requests for at most
//!
//! `slots * longest + 10 * (its own work + CREDIT)`
//!
//! and a step at either end. Its own work is what the engine really did for it: it may lose its slot to
//! promised work and be computed anew. Promised work comes on top, and has no bound here: where promises
//! take all of the engine's time, best-effort work waits to its deadline.

use crate::random::Random;
use crate::scene::model;
use crate::world::{Fate, ticket};
use crate::{Machine, asked, machine, machine_of, ms, seeds};
use slmd::core::plan::ModelId;
use slmd::core::request::{Priority, RequestId, StopReason, Time};
use slmd::core::session::Ticket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// As in `scheduler::share`.
const CREDIT: Duration = Duration::from_millis(500);
/// As in `scheduler::share`: one part in so many.
const OWED: u32 = 10;
/// Ids of the requests that are watched; of those that are promised; of the flood of the others.
const WATCHED: u64 = 1_000_000;
const PROMISED: u64 = 2_000_000;

/// A machine that never runs out of normal best-effort work, beside some promised.
struct Flood {
    random: Random,
    world: Machine,
    slots: u16,
    /// One in so many requests is promised; none if it is 0.
    promised: u64,
    next: u64,
}

impl Flood {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let step_us = 500 + random.below(10_000);
        let plan = model(&mut random, step_us);
        let slots = plan.caps.slots;
        let promised = [0, 12, 4][random.below(3) as usize];
        Self { random, world: machine_of(vec![plan], 16), slots, promised, next: 0 }
    }

    fn ticket(&mut self, id: u64, deadline: Duration) -> Ticket {
        let (prompt, max_new) = (1 + self.random.below(80), 1 + self.random.below(40));
        let mut t = ticket(id, self.world.now, prompt as u32, max_new as u32, 0);
        t.deadline.answer = self.world.now.after(deadline);
        t.deadline.best_effort = true;
        t
    }

    /// One more of the flood, if there is room; or one that is promised.
    fn feed(&mut self) {
        self.next += 1;
        let mut t = self.ticket(self.next, Duration::from_secs(100_000));
        if self.promised > 0 && self.random.one_in(self.promised) {
            let alone = self.world.alone(ModelId(0), t.prompt_tokens, t.max_new);
            t.id = RequestId(PROMISED + self.next);
            t.deadline.answer = self.world.now.after(alone * (2 + self.random.below(4) as u32));
            t.deadline.best_effort = false;
        }
        self.world.submit(t, 10_000);
    }

    /// Runs until request `id` has ended; never lets the others run out.
    fn run(&mut self, id: RequestId) {
        while self.world.records[&id].fate.is_none() {
            if self.world.policy.load().1 < usize::from(self.slots) {
                self.feed();
            }
            self.world.run_until(self.world.now.after(ms(1)));
        }
    }

    /// A background request, from its coming to its end: what others had of the time that promises left,
    /// as a share of the bound.
    fn watch(&mut self, id: u64) -> f64 {
        let mut t = self.ticket(id, Duration::from_secs(100_000));
        t.priority = Priority::Background;
        let before = self.world.busy - self.world.busy_for_promises;
        self.world.submit(t, 10_000);
        self.run(t.id);
        let record = &self.world.records[&t.id];
        assert!(record.is_met(), "{record:?}");
        let own = record.worked;
        let others = self.world.busy - self.world.busy_for_promises - before - own;
        let longest = self.world.records.values().map(|r| r.worked).max().unwrap_or_default();
        let ends = self.world.longest_step * 2;
        let bound = longest * self.slots.into() + (own + CREDIT) * OWED + ends;
        others.as_secs_f64() / bound.as_secs_f64()
    }
}

#[test]
fn who_waits_is_served_within_a_bound() {
    let most = AtomicU64::new(0);
    seeds(150, "who_waits_is_served", |seed| {
        let mut flood = Flood::new(seed);
        for id in WATCHED..WATCHED + 8 {
            let share = flood.watch(id);
            most.fetch_max((share * 1e3) as u64, Ordering::Relaxed);
            assert!(share <= 1.0, "{share} of the bound, request {id}");
        }
    });
    println!("at most {} thousandths of the bound", most.load(Ordering::Relaxed));
    assert!(most.into_inner() > 100 || asked("SLMD_SEED").is_some(), "it says something");
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
