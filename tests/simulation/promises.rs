//! What is promised is kept, over thousands of machines and loads.

use crate::random::Random;
use crate::scene::{Scene, give, refusal};
use crate::{asked, ms, seeds};
use slmd::core::pressure::Pressure;
use slmd::core::request::Time;
use slmd::core::scheduler::Input;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Promises that a run makes without further words, at least.
const PROMISES: u64 = 100_000;

/// Promises of all seeds, and the broken ones of them.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    broken: AtomicU64,
}

impl Tally {
    /// Counts those of a scene, and fails if one was broken.
    fn count(&self, scene: &Scene) {
        let (made, broken) = scene.promises();
        self.made.fetch_add(made, Ordering::Relaxed);
        self.broken.fetch_add(broken.len() as u64, Ordering::Relaxed);
        for id in &broken {
            eprintln!("{:?}", scene.world.records[id]);
        }
        assert!(broken.is_empty(), "broken: {broken:?} of {made}");
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

/// Says it even if a seed failed.
impl Drop for Tally {
    fn drop(&mut self) {
        let (made, broken) = (self.made(), self.broken.load(Ordering::Relaxed));
        println!("{made} promises made, {broken} broken");
    }
}

#[test]
fn promises_hold_while_steps_cost_what_they_did() {
    let tally = Tally::default();
    seeds(2_000, "promises_hold_while", |seed| {
        let mut scene = Scene::new(seed, 100);
        scene.scatter(seed % 5);
        scene.run();
        scene.check();
        tally.count(&scene);
    });
    let is_default = asked("SLMD_SEED").or_else(|| asked("SLMD_SEEDS")).is_none();
    assert!(tally.made() >= PROMISES || !is_default, "too few to say anything");
}

#[test]
fn promises_hold_under_heat_too() {
    let tally = Tally::default();
    seeds(300, "promises_hold_under_heat", |seed| {
        let mut scene = Scene::new(seed, 60);
        let random = &mut scene.random;
        let pressure = Pressure {
            stretch_percent: 100 + random.below(100) as u32,
            background_percent: random.below(101) as u8,
            rest_percent: random.below(60) as u8,
        };
        scene.world.may_rest = true;
        scene.world.policy.handle(Time(0), Input::Pressure(pressure));
        scene.run();
        scene.check();
        tally.count(&scene);
    });
}

#[test]
fn after_a_slowdown_nothing_ends_more_than_a_step_late() {
    seeds(300, "after_a_slowdown", |seed| {
        let mut scene = Scene::new(seed, 60);
        let mut random = Random(seed ^ 0xabcd);
        let from = Time(scene.gap_us * random.below(60));
        let factor = 2 + random.below(6) as u32;
        let until = from.after(Duration::from_micros(scene.gap_us * 20));
        scene.world.weather(Box::new(move |took, now, step| match () {
            () if now >= from && now < until => took * factor,
            // And a stall once in a while.
            () if step % 500 == 499 => took * 50,
            () => took,
        }));
        scene.run();
        scene.check();
    });
}

#[test]
fn what_a_refused_request_is_told_to_need_is_enough() {
    let told = AtomicU64::new(0);
    seeds(300, "what_a_refused_request", |seed| {
        let mut scene = Scene::new(seed, 0);
        for id in 0..80 {
            let mut ticket = scene.ticket(id);
            ticket.least = None;
            if let Some(reason) = refusal(&scene.world, ticket)
                && let Some(needs_ms) = reason.needs_ms
            {
                let mut asked = ticket;
                give(&mut asked, &reason, scene.world.now.after(ms(needs_ms.into())));
                assert_eq!(refusal(&scene.world, asked), None, "after {reason:?}");
                told.fetch_add(1, Ordering::Relaxed);
            }
            scene.world.submit(ticket, 10_000);
            let gap = scene.gap();
            scene.world.run_until(scene.world.now.after(gap));
        }
    });
    assert!(told.into_inner() > 100 || asked("SLMD_SEED").is_some());
}
