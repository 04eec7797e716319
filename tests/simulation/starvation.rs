//! Nobody waits for ever.

use crate::world::{Fate, ticket};
use crate::{machine, ms};
use slmd::core::request::{Priority, StopReason, Time};

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
