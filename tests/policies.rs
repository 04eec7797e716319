//! The policies that slmd is compared with serve as well as they can: the comparison would be worth
//! nothing otherwise.

#[path = "../benches/policies/baseline.rs"]
mod baseline;
#[allow(dead_code, reason = "the bench uses more of it")]
#[path = "../benches/policies/load.rs"]
mod load;
#[path = "common/random.rs"]
mod random;
#[path = "common/world.rs"]
mod world;

use baseline::{Baseline, Order, Rules};
use load::Load;
use slmd::core::cost::{Costs, Shape};
use slmd::core::plan::ModelId;
use slmd::core::request::{RequestId, StopReason, Time};
use slmd::core::scheduler::ModelPlan;
use std::time::Duration;
use world::{Fate, Policy, World, caps, ticket};

const QUEUE: usize = 16;
const FIFO: Rules =
    Rules { order: Order::Arrival, queue: None, sessions: 4, evicts: false, gives_up: false };
const EDF: Rules = Rules { order: Order::Deadline, queue: Some(QUEUE), evicts: true, ..FIFO };
const ALL: [Rules; 6] = [
    FIFO,
    Rules { queue: Some(QUEUE), ..FIFO },
    Rules { sessions: 1, ..FIFO },
    EDF,
    Rules { evicts: false, ..EDF },
    Rules { gives_up: true, ..EDF },
];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn machine(rules: Rules, slots: u16, rows: u8) -> World<Baseline> {
    let shape = Shape::flat(ms(5), ms(1), ms(1));
    let model = ModelPlan { caps: caps(slots, rows), costs: Costs::new(shape), slot_bytes: 1 };
    World::new(Baseline::new(rules, model.clone()), vec![model])
}

/// Offers 200 requests, each `gap` times the time that it takes alone after the one before, with
/// deadlines `slack` times as long as they have.
fn offer(rules: Rules, seed: u64, gap: f64, slack: f64) -> World<Baseline> {
    let (slots, rows) = [(1, 1), (4, 4), (4, 2)][seed as usize % 3];
    let (mut world, mut at) = (machine(rules, slots, rows), Time(0));
    for (id, mut offer) in (0..200).zip(Load::new(seed)) {
        offer.slack *= slack;
        let alone = world.alone(ModelId(0), offer.prompt_tokens, offer.max_new);
        world.run_until(at);
        world.submit(offer.ticket(id, at, alone), 80);
        at = at.after(alone.mul_f64(gap));
    }
    world.run_until(world.now.after(Duration::from_secs(3_600)));
    world
}

#[test]
fn a_light_load_is_met_to_the_last() {
    for rules in ALL {
        for seed in 0..6 {
            let world = offer(rules, seed, 1.1, 1.0);
            for record in world.records.values() {
                assert!(record.is_met(), "{rules:?}, {seed}: {record:?}");
            }
        }
    }
}

#[test]
fn under_overload_every_request_has_one_end_and_none_is_later_than_a_step() {
    for rules in ALL {
        for seed in 0..12 {
            let world = offer(rules, seed, 0.1, 1.0);
            assert_eq!(world.policy.kv_held_bytes(), 0, "a slot leaked: {rules:?}, {seed}");
            for record in world.records.values() {
                let ended = record.ended.expect("every request ends");
                let late = ended.since(record.ticket.deadline.answer);
                assert!(late <= world.longest_step, "{rules:?}, {seed}: {record:?}");
            }
            let met = world.records.values().filter(|r| r.is_met()).count();
            assert!(met >= 10, "{rules:?}, {seed}: {met}");
        }
    }
}

#[test]
fn what_is_let_in_and_has_time_is_served_whatever_the_load() {
    for rules in ALL {
        for seed in 0..6 {
            let world = offer(rules, seed, 0.1, 1e6);
            for record in world.records.values().filter(|r| r.is_admitted()) {
                assert!(record.is_met(), "{rules:?}, {seed}: {record:?}");
            }
        }
    }
}

#[test]
fn all_who_are_seated_decode_together() {
    let mut world = machine(FIFO, 4, 4);
    for id in 0..4 {
        world.submit(ticket(id, world.now, 10, 100, 60_000), 999);
    }
    world.run_until(Time(10_000_000));
    // Four prompts of 14 ms each, then steps of four rows.
    assert_eq!(world.busy, ms(4 * 14) + ms(8) * 99);
}

#[test]
fn whoever_is_due_first_takes_others_along() {
    let mut world = machine(EDF, 2, 2);
    world.submit(ticket(0, world.now, 10, 101, 60_000), 999);
    // A prompt and 20 steps.
    world.run_until(Time(114_000));
    world.submit(ticket(1, world.now, 10, 81, 5_000), 999);
    world.run_until(Time(10_000_000));
    assert_eq!(world.busy, ms(14 + 20 * 5) + ms(14) + ms(6) * 80);
}

/// Who ended when, of a long request that is due late and then a short one that is due soon, with
/// one slot.
fn ends(rules: Rules) -> [Time; 2] {
    let mut world = machine(rules, 1, 1);
    world.submit(ticket(0, world.now, 10, 100, 60_000), 999);
    world.run_until(Time(100_000));
    world.submit(ticket(1, world.now, 10, 10, 5_000), 999);
    world.run_until(Time(10_000_000));
    [0, 1].map(|id| match &world.records[&RequestId(id)].fate {
        Some(Fate::Ended(StopReason::Length, at)) => *at,
        other => panic!("{rules:?}: {other:?}"),
    })
}

#[test]
fn the_order_is_what_the_rules_say() {
    let [long, short] = ends(FIFO);
    assert!(long < short);
    let [kept, short] = ends(Rules { evicts: false, ..EDF });
    assert!(kept < short && kept == long);
    let [evicted, short] = ends(EDF);
    // One step of waiting, a prompt of 14 ms and nine steps.
    assert!(short <= Time(100_000).after(ms(5 + 14 + 9 * 5)), "{short:?}");
    assert!(evicted > kept.after(ms(14 + 9 * 5)), "what was computed is computed anew");
}

#[test]
fn the_hopeless_are_dropped_at_once_by_those_who_know_it() {
    for (gives_up, at) in [(false, 500), (true, 0)] {
        let mut world = machine(Rules { gives_up, ..EDF }, 1, 1);
        world.submit(ticket(0, world.now, 10, 100, 500), 999);
        world.run_until(Time(10_000_000));
        let ended = world.records[&RequestId(0)].ended.expect("it ends");
        assert!(ended >= Time(0).after(ms(at)) && ended <= Time(0).after(ms(at + 5)), "{ended:?}");
    }
}
