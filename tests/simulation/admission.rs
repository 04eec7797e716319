//! What is let in and what is refused, what a refusal says, and how everything ends.

use crate::world::{Fate, ticket};
use crate::{machine, ms};
use slmd::core::error::ErrorCode;
use slmd::core::request::{RequestId, StopReason, Time};
use slmd::core::scheduler::{Input, Output};

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
    shorter.least = Some(1);
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
