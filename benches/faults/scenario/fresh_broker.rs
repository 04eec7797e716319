//! The broker comes back without any memory: slmd publishes again all answers that were not
//! confirmed, those that it had published and those that became ready while the broker was away, and
//! none of the others.

use super::load::{Load, Style, tale};
use super::{Outcome, Setup, Stage, say, side};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How many times, with how many prompts.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub count: u32,
    pub prompts: u32,
}

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Sums {
    prompts: usize,
    confirmed: usize,
    published: usize,
    away: usize,
    again: usize,
    missing: Vec<String>,
    needless: usize,
    differing: usize,
    unknown: usize,
}

/// Runs it; none: the broker is missing.
pub fn run(setup: &Setup, plan: Plan) -> Option<Outcome> {
    let mut outcome = Outcome::new("fresh-broker", setup.seed);
    let mut sums = Sums::default();
    let began = Instant::now();
    let mut stage = Stage::set(setup, &["n"], "queue = 64\nsessions = 1\ncontext-tokens = 512")?;
    for number in 1..=plan.count {
        round(&mut stage, number, plan, &mut sums);
        let (again, unconfirmed) = (sums.again, sums.published + sums.away);
        say(&format!("round {number}: {again} of {unconfirmed} unconfirmed answers came again"));
    }
    outcome.tell("rounds", plan.count);
    outcome.tell("prompts", sums.prompts);
    outcome.tell("answers confirmed before", sums.confirmed);
    outcome.tell("answers published, not confirmed", sums.published);
    outcome.tell("answers not published when the broker died", sums.away);
    let unconfirmed = sums.published + sums.away;
    outcome.must("unconfirmed answers", unconfirmed, "above 0", unconfirmed > 0);
    let is_all = sums.again == unconfirmed;
    outcome.must("of these published again and heard", sums.again, "all", is_all);
    outcome.must_be_zero("confirmed answers published again", sums.needless);
    outcome.must_be_zero("differing replies for a key", sums.differing);
    outcome.must_be_zero("replies of no key of ours", sums.unknown);
    sums.missing.into_iter().for_each(|key| outcome.example(format!("missing: {key}")));
    stage.close(&mut outcome);
    outcome.seconds = began.elapsed().as_secs_f64();
    Some(outcome)
}

fn round(stage: &mut Stage, number: u32, plan: Plan, sums: &mut Sums) {
    let style = Style { under_way: 0, pause: Duration::ZERO, long: 0, repeats: false };
    let prefix = format!("fb{number}-");
    let (port, chance) = (stage.requesters.port(), stage.chance.clone());
    let start = || Load::start(port, 1, "slmd/n/request", &prefix, style.clone(), chance.clone());
    let mut load = start();
    let before = stage.answered(0);
    let keys: BTreeSet<String> =
        (0..plan.prompts).map(|i| load.ask(tale(&format!("Tale {i}"), 400), false)).collect();
    wait("slmd takes all prompts", || {
        keys.iter().all(|key| stage.ledger.account(side(0), key).acked > 0)
    });
    // Some answers are to be confirmed, and some published without being so.
    let some = stage.chance.between_ms(0, 1500);
    load.run(some);
    stage.broker.freeze();
    std::thread::sleep(stage.chance.between_ms(50, 600));
    stage.broker.kill();
    stage.broker.forget();
    // What a process has read when it is killed may yet be written into the ledger.
    std::thread::sleep(Duration::from_millis(50));
    load.listen();
    let account = |key: &String| stage.ledger.account(side(0), key);
    let (confirmed, open): (BTreeSet<_>, BTreeSet<_>) =
        keys.iter().cloned().partition(|key| !account(key).confirmed.is_empty());
    let published = open.iter().filter(|key| account(key).sent > 0).count();
    // slmd is kept away until somebody listens: to nobody it would be delivered, too.
    stage.taps[0].hold();
    wait("all answers are ready", || stage.answered(0) >= before + u64::from(plan.prompts));
    stage.broker.restart();
    let earlier = load.answers();
    drop(load);
    keys.iter().for_each(|key| stage.ledger.forget(side(0), key));
    let mut later = start();
    later.expect(&keys);
    stage.taps[0].release();
    let end = Instant::now() + LIMIT;
    while Instant::now() < end && !open.iter().all(|key| later.has(key)) {
        later.listen();
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(500));
    later.listen();
    sums.prompts += keys.len();
    sums.confirmed += confirmed.len();
    sums.published += published;
    sums.away += open.len() - published;
    sums.again += open.iter().filter(|key| later.has(key)).count();
    sums.missing.extend(open.iter().filter(|key| !later.has(key)).cloned());
    sums.needless += confirmed.iter().filter(|key| account(key).sent > 0).count();
    let differs = |(key, answer): &(String, _)| earlier.get(key).is_some_and(|e| e != answer);
    sums.differing += later.differing.len() + later.answers().into_iter().filter(differs).count();
    sums.unknown += later.unknown as usize;
}

fn wait(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
