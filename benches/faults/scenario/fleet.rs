//! Three daemons of one group: even load, one killed and back, one that drains, one gone for good.

use super::load::{Load, Style};
use super::{Outcome, Setup, Stage, say, side};
use std::time::{Duration, Instant};

/// How many prompts in each part.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub count: usize,
}

const NODES: [&str; 3] = ["one", "two", "three"];
const LIMIT: Duration = Duration::from_secs(60);
/// How often the same one is killed.
const KILLS: usize = 4;
/// A requester of a fleet asks again after so long: three daemons on two cores have queues of seconds.
const PATIENCE: Duration = Duration::from_secs(6);

/// Runs it; none: the broker is missing.
pub fn run(setup: &Setup, plan: Plan) -> Option<Outcome> {
    let mut stage = Stage::set(setup, &NODES, "queue = 64\nsessions = 2\ncontext-tokens = 512")?;
    let mut outcome = Outcome::new("fleet", setup.seed);
    even(&stage, plan, &mut outcome);
    killed_and_back(&mut stage, plan, &mut outcome);
    draining(&mut stage, plan, &mut outcome);
    gone_for_good(&mut stage, plan, &mut outcome);
    stage.close(&mut outcome);
    Some(outcome)
}

fn load(stage: &Stage, prefix: &str) -> Load {
    let style = Style { under_way: 24, pause: Duration::from_millis(2), long: 300, repeats: false };
    let (port, chance) = (stage.requesters.port(), stage.chance.clone());
    Load::start(port, 3, "slmd/group/line/request", prefix, style, chance)
}

/// Asks until there are so many prompts.
fn ask_until(load: &mut Load, prompts: usize) {
    while load.prompts().len() < prompts {
        load.run(Duration::from_millis(10));
    }
}

/// Asks until this daemon has something in hand; says how much.
fn ask_until_at_work(stage: &Stage, load: &mut Load, daemon: usize) -> usize {
    let end = Instant::now() + LIMIT;
    while stage.owed(daemon) == 0 && Instant::now() < end {
        load.run(Duration::from_millis(3));
    }
    stage.owed(daemon)
}

/// The figures of one part, with its name before them.
fn part(outcome: &mut Outcome, name: &str, load: &Load) {
    let open = load.open();
    outcome.tell(&format!("{name}: prompts"), load.prompts().len());
    outcome.must_be_zero(&format!("{name}: lost"), open.len());
    outcome.must_be_zero(&format!("{name}: differing replies"), load.differing.len());
    outcome.must_be_zero(&format!("{name}: replies of no key of ours"), load.unknown as usize);
    open.iter().for_each(|key| outcome.example(format!("{name}: lost: {key}")));
    load.differing.iter().for_each(|text| outcome.example(format!("{name}: {text}")));
}

fn only_ok(outcome: &mut Outcome, name: &str, load: &Load) {
    let outcomes = load.outcomes();
    let good = outcomes.keys().all(|name| name == "ok");
    outcome.must(&format!("{name}: outcomes"), format!("{outcomes:?}"), "all ok", good);
}

fn even(stage: &Stage, plan: Plan, outcome: &mut Outcome) {
    let mut load = load(stage, "fe-");
    ask_until(&mut load, plan.count);
    load.settle(LIMIT);
    part(outcome, "all up", &load);
    only_ok(outcome, "all up", &load);
    let answered: Vec<u64> = (0..NODES.len()).map(|i| stage.answered(i)).collect();
    let fair = load.prompts().len() as f64 / NODES.len() as f64;
    let worst = answered.iter().map(|&n| (n as f64 - fair).abs() / fair).fold(0.0, f64::max);
    let value = format!("{answered:?}, at most {:.1} % off", worst * 100.0);
    outcome.must("all up: answered by each", value, "within 20 %", worst <= 0.2);
    say(&format!("all up: {answered:?}"));
}

fn killed_and_back(stage: &mut Stage, plan: Plan, outcome: &mut Outcome) {
    let mut load = load(stage, "fk-");
    let mut owed = Vec::new();
    for kill in 1..=KILLS {
        ask_until(&mut load, plan.count * kill / (KILLS + 1));
        owed.push(ask_until_at_work(stage, &mut load, 0));
        let open = load.open();
        stage.daemons[0].kill();
        // Its share piles up.
        let away = stage.chance.between_ms(300, 1200);
        load.run(away);
        let before = stage.ledger.subscriptions(side(0));
        stage.daemons[0].start_again();
        stage.wait_until_subscribed(0, before + 1);
        // What runs at two kills is given up, by design.
        let end = Instant::now() + LIMIT;
        while open.iter().any(|key| !load.has(key)) && Instant::now() < end {
            load.run(Duration::from_millis(5));
        }
    }
    ask_until(&mut load, plan.count);
    load.settle(LIMIT);
    let is_at_work = owed.iter().all(|&n| n > 0);
    let value = format!("{owed:?}");
    outcome.must("killed and back: answers that it owed", value, "some each time", is_at_work);
    part(outcome, "killed and back, no retries", &load);
    only_ok(outcome, "killed and back", &load);
    say("one was killed and is back");
}

fn draining(stage: &mut Stage, plan: Plan, outcome: &mut Outcome) {
    let mut load = load(stage, "fd-");
    ask_until(&mut load, plan.count / 3);
    let owed = ask_until_at_work(stage, &mut load, 1);
    stage.daemons[1].terminate();
    let told = Instant::now();
    while stage.daemons[1].has_ended().is_none() {
        load.run(Duration::from_millis(10));
        assert!(told.elapsed() < LIMIT, "it does not go down");
    }
    let took = told.elapsed();
    ask_until(&mut load, plan.count);
    load.settle(Duration::from_secs(10));
    outcome.tell("draining: answers that it owed", owed);
    outcome.tell("draining: seconds until it was down", took.as_secs_f32());
    let left = load.open();
    outcome.must_be_zero("draining: unanswered without it", left.len());
    for key in left {
        let accounts: Vec<_> = (0..3).map(|i| stage.ledger.account(side(i), &key)).collect();
        outcome.example(format!("draining: left: {key}: {accounts:?}"));
    }
    let before = stage.ledger.subscriptions(side(1));
    stage.daemons[1].start_again();
    stage.wait_until_subscribed(1, before + 1);
    load.settle(LIMIT);
    part(outcome, "draining, no retries", &load);
    let outcomes = load.outcomes();
    // Refused, with the advice to ask again.
    let refused = outcomes.get("shutting_down").copied().unwrap_or(0);
    outcome.tell("draining: refused as shutting_down, retryable", refused);
    let good = outcomes.keys().all(|name| name == "ok" || name == "shutting_down");
    outcome.must("draining: outcomes", format!("{outcomes:?}"), "no other errors", good);
    say("one has drained and is back");
}

fn gone_for_good(stage: &mut Stage, plan: Plan, outcome: &mut Outcome) {
    let mut load = load(stage, "fg-");
    ask_until(&mut load, plan.count / 3);
    stage.daemons[2].kill();
    let (mut retries, end) = (0, Instant::now() + 2 * LIMIT);
    while Instant::now() < end {
        match load.prompts().len() < plan.count {
            true => load.run(Duration::from_millis(10)),
            false => {
                load.listen();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let open = load.open();
        if open.is_empty() && load.prompts().len() >= plan.count {
            break;
        }
        for key in open {
            if load.prompts()[&key].last_asked.elapsed() >= PATIENCE {
                load.retry(&key);
                retries += 1;
            }
        }
    }
    part(outcome, "gone for good, retries", &load);
    only_ok(outcome, "gone for good", &load);
    let again: Vec<_> = load.prompts().iter().filter(|(_, p)| p.tries > 1).collect();
    let most = again.iter().map(|(_, p)| p.tries).max().unwrap_or(1);
    outcome.tell("gone for good: keys asked again", again.len());
    outcome
        .tell("gone for good: retries, the most for one key", format!("{retries}, {}", most - 1));
    let others =
        again.iter().filter(|(key, _)| (0..2).any(|i| stage.ledger.account(side(i), key).sent > 0));
    let others = others.count();
    let is_all = others == again.len();
    outcome.must("gone for good: of these answered by another member", others, "all", is_all);
    say(&format!("one is gone for good: {retries} retries"));
}
