//! MQTT delivery in virtual time: thousands of seeded lives of the desk between a journal, a
//! runtime, a broker and clients that fail in every way they may, and what must hold in all of them.

#[path = "delivery/broker.rs"]
mod broker;
#[path = "delivery/disk.rs"]
mod disk;
#[path = "delivery/engine.rs"]
mod engine;
#[path = "common/random.rs"]
mod random;
#[path = "delivery/wishes.rs"]
mod wishes;
#[path = "delivery/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Trace, World};

/// The wall clock; virtual time begins with zero.
fn unix_ms(now_ms: u64) -> u64 {
    1_700_000_000_000 + now_ms
}

fn life(seed: u64, trace: &Trace) {
    let mut world = World::new(seed, trace.clone());
    world.start();
    let steps = world.random.between(100, 700);
    for _ in 0..steps {
        world.step();
    }
    if seed.is_multiple_of(3) {
        world.settle_without_disk();
    }
    world.settle();
}

#[test]
fn every_prompt_has_its_one_answer_whatever_fails() {
    let only = std::env::var("SLMD_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = only.map_or(0..2_500, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let trace = Trace::default();
        if catch_unwind(AssertUnwindSafe(|| life(seed, &trace))).is_err() {
            let trace = trace.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let events: Vec<&str> = trace.iter().map(String::as_str).collect();
            panic!(
                "replay with SLMD_SEED={seed} cargo test --test delivery; the last events:\n{}",
                events.join("\n")
            );
        }
    }
}
