//! Whose turn it is: sessions of one priority, and urgent ones over others.

use crate::world::{caps, ticket};
use crate::{MAX_STEP, Machine, STEP, machine, machine_of, ms};
use slmd::core::cost::{Costs, Shape};
use slmd::core::plan::Shapes;
use slmd::core::request::{Priority, RequestId, Time};
use slmd::core::scheduler::ModelPlan;

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
fn a_chunk_of_a_fixed_shape_is_not_cut_however_long_it_takes() {
    // A whole chunk takes 100 ms, and so does a piece of one; steps of any shape may take 40.
    let costs = Costs::new(Shape { chunk_us: 100_000.0, token_us: 0.0, ..crate::shape() });
    let busy = |shapes: Shapes| {
        let caps = slmd::core::plan::Caps { shapes, ..caps(1, 1) };
        let plan = ModelPlan { caps, costs, slot_bytes: 1 };
        let mut world = machine_of(vec![plan], 4);
        world.submit(ticket(1, world.now, 200, 10, 60_000), 99);
        world.run_until(Time(60_000_000));
        assert!(world.records[&RequestId(1)].is_met());
        world.busy
    };
    let most = world_chunk();
    let chunks = 200u32.div_ceil(most);
    assert_eq!(busy(Shapes::Static(vec![(1, most), (1, 1)])), ms(100) * chunks + STEP * 9);
    assert!(
        busy(Shapes::Any) > ms(100) * 20,
        "pieces of eight tokens, each at the price of a chunk"
    );
}

/// Tokens of a chunk in these worlds.
fn world_chunk() -> u32 {
    caps(1, 1).max_chunk
}
