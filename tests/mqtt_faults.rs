//! The scenarios of `benches/faults` with small counts: the same code, the same conditions.

mod common;
#[path = "../benches/faults/scenario/mod.rs"]
mod scenario;

use scenario::{Chance, Outcome, Setup, fleet, fresh_broker, kill_broker, kill_daemon, same_key};
use std::path::Path;

/// Runs one with the test model; skipped without it or without mosquitto.
fn check(run: impl FnOnce(&Setup) -> Option<Outcome>) {
    let Some(model) = common::model_dir("stories260k-fp32") else { return };
    let slmd = Path::new(env!("CARGO_BIN_EXE_slmd")).to_owned();
    let seed = Chance::fresh_seed();
    println!("seed {seed}");
    let Some(outcome) = run(&Setup { slmd, model, seed }) else { return };
    println!("{}", outcome.table());
    assert!(outcome.is_good(), "{}", outcome.table());
}

#[test]
fn slmd_killed_loses_nothing() {
    check(|setup| kill_daemon::run(setup, kill_daemon::Plan { count: 6, longest_ms: 800 }));
}

#[test]
fn the_broker_killed_loses_nothing_of_slmds() {
    check(|setup| kill_broker::run(setup, kill_broker::Plan { count: 3, longest_ms: 1500 }));
}

#[test]
fn a_broker_without_memory_gets_every_unconfirmed_answer_again() {
    check(|setup| fresh_broker::run(setup, fresh_broker::Plan { count: 1, prompts: 32 }));
}

#[test]
fn one_key_is_one_inference() {
    check(|setup| same_key::run(setup, same_key::Plan { count: 100, rounds: 1 }));
}

#[test]
fn a_fleet_shares_the_work_and_loses_nothing() {
    check(|setup| fleet::run(setup, fleet::Plan { count: 120 }));
}
