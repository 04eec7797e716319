//! Heat: what pauses, what rests, what is refused, and how prices follow.

use crate::world::{Fate, ticket};
use crate::{STEP, machine};
use slmd::core::cost::Load;
use slmd::core::error::ErrorCode;
use slmd::core::plan::ModelId;
use slmd::core::pressure::Pressure;
use slmd::core::request::{Priority, RequestId, StopReason, Time};
use slmd::core::scheduler::Input;

#[test]
fn heat_pauses_background_work_and_nothing_else() {
    let mut world = machine(2, 1, 8);
    world.may_rest = true;
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
        world.may_rest = true;
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
