//! What once broke a promise, by itself.

use crate::world::{Record, caps, ticket};
use crate::{Machine, machine_of, ms};
use slmd::core::cost::{Costs, Shape};
use slmd::core::plan::ModelId;
use slmd::core::request::{RequestId, Time};
use slmd::core::scheduler::ModelPlan;
use slmd::core::session::Ticket;

fn record(world: &Machine, id: u64) -> &Record {
    &world.records[&RequestId(id)]
}

#[test]
fn a_chunk_that_just_fits_is_not_relied_on() {
    // Chunks of 16 tokens take 39.84 ms; the bound is 40 ms. One per cent slower, and they have 8.
    let shape =
        Shape { decode_us: 5_000.0, chunk_us: 20_000.0, token_us: 1_240.0, ..Shape::default() };
    let plan = ModelPlan { caps: caps(1, 1), costs: Costs::new(shape), slot_bytes: 1 };
    for deadline_ms in (400..800).step_by(10) {
        let mut world = machine_of(vec![plan.clone()], 4);
        world.weather(Box::new(|took, _, _| took * 102 / 100));
        world.submit(ticket(1, world.now, 160, 1, deadline_ms), 99);
        world.run_until(Time(2_000_000));
        let record = record(&world, 1);
        assert!(!record.is_admitted() || record.is_met(), "{deadline_ms}: {record:?}");
    }
}

/// A machine with two models of one slot each.
fn two_models() -> Machine {
    let shape = Shape::flat(ms(5), ms(1), ms(1));
    let plan = ModelPlan { caps: caps(1, 1), costs: Costs::new(shape), slot_bytes: 1 };
    machine_of(vec![plan.clone(), plan], 8)
}

fn of_model(model: u8, ticket: Ticket) -> Ticket {
    Ticket { model: ModelId(model), ..ticket }
}

#[test]
fn whoever_holds_a_slot_that_is_waited_for_goes_before_another_model() {
    let mut world = two_models();
    // It might have 100 tokens, but soon ends, and its slot goes to the one that waits.
    world.submit(of_model(1, ticket(1, world.now, 10, 100, 20_000)), 12);
    world.run_until(Time(30_000));
    world.submit(of_model(1, ticket(2, world.now, 10, 200, 4_000)), 999);
    world.submit(ticket(3, world.now, 10, 200, 5_000), 999);
    let mut waits = ticket(4, world.now, 10, 100, 8_000);
    waits.deadline.first_token = Some(world.now.after(ms(1_300)));
    world.submit(waits, 999);
    world.run_until(Time(20_000_000));
    for id in 1..=4 {
        assert!(record(&world, id).is_met(), "{:?}", record(&world, id));
    }
}
