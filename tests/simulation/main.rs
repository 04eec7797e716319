//! The scheduler in virtual time: thousands of seeded loads, and what must hold in all of them.
//! `SLMD_SEED=N cargo test --test simulation NAME` replays one load, `SLMD_SEEDS=N` tries as many.

mod admission;
mod heat;
mod order;
mod promises;
#[path = "../common/random.rs"]
mod random;
mod scene;
mod starvation;
mod upsets;
#[path = "../common/world.rs"]
mod world;

use slmd::core::cost::{Costs, Shape};
use slmd::core::scheduler::{Limits, ModelPlan, Scheduler};
use std::time::Duration;
use world::{World, caps};

const STEP: Duration = Duration::from_millis(5);
const MAX_STEP: Duration = Duration::from_millis(40);

type Machine = World<Scheduler>;

fn shape() -> Shape {
    Shape::flat(STEP, Duration::from_millis(1), Duration::from_millis(1))
}

fn machine_of(models: Vec<ModelPlan>, queue: usize) -> Machine {
    let scheduler = Scheduler::new(
        models.clone(),
        Limits { queue, max_step: MAX_STEP, delivery: Duration::ZERO },
    );
    World::new(scheduler, models)
}

fn machine(slots: u16, rows: u8, queue: usize) -> Machine {
    let plan = ModelPlan { caps: caps(slots, rows), costs: Costs::new(shape()), slot_bytes: 1 };
    machine_of(vec![plan], queue)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A number that the environment gives.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs `body` for `count` seeds, or for as many as `$SLMD_SEEDS` says, or for the one of
/// `$SLMD_SEED`; says of each that fails how to replay it, and fails at the end.
fn seeds(count: u64, test: &str, body: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let (only, count) = (asked("SLMD_SEED"), asked("SLMD_SEEDS").unwrap_or(count));
    let all = only.map_or(0..count, |seed: u64| seed..seed + 1);
    let fails = |seed: &u64| std::panic::catch_unwind(|| body(*seed)).is_err();
    let failed: Vec<u64> = all.filter(fails).collect();
    for seed in &failed {
        eprintln!("replay with SLMD_SEED={seed} cargo test --test simulation {test}");
    }
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}
