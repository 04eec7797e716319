//! SIGKILL of the broker at random points under load; slmd stays.
//!
//! mosquitto saves what changed up to a second later, so it may lose a prompt or an answer that it
//! has acknowledged. Requesters do as they are told to: who hears nothing asks again with the same
//! key. Each such retry is explained by the ledger. What slmd answers for, because it has
//! acknowledged the prompt and the broker has not acknowledged the answer, is never asked again
//! here: a retry would only hide that slmd lost it.

use super::ledger::REQUESTERS;
use super::load::{Load, Style};
use super::{Outcome, Setup, Stage, say, side};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How many kills, and how many milliseconds it is up after slmd has come back to it. Every fourth
/// time it is killed within a second, whether slmd is back or not.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub count: u32,
    pub shortest_ms: u64,
    pub longest_ms: u64,
}

/// A requester that has heard nothing for so long asks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// What slmd answers for must be out after so long; the broker is never away for a tenth of it.
const OWED_LIMIT: Duration = Duration::from_secs(45);
/// After the last restart everything must be answered within this.
const LIMIT: Duration = Duration::from_secs(120);
/// No matching subscribers: the broker has forgotten the requester's subscription.
const NO_SUBSCRIBERS: u8 = 0x10;

/// Runs it; none: the broker is missing.
pub fn run(setup: &Setup, plan: Plan) -> Option<Outcome> {
    let mut stage = Stage::set(setup, &["n"], "queue = 128\nsessions = 2\ncontext-tokens = 512")?;
    let style =
        Style { under_way: 24, pause: Duration::from_millis(10), long: 160, repeats: false };
    let chance = stage.chance.clone();
    let port = stage.requesters.port();
    let mut load = Load::start(port, 3, "slmd/n/request", "kb-", style, chance);
    let mut retries = Retries::new();
    for number in 1..=plan.count {
        let is_hasty = stage.chance.one_in(4);
        let up = match is_hasty {
            true => stage.chance.between_ms(0, 1000),
            false => stage.chance.between_ms(plan.shortest_ms, plan.longest_ms),
        };
        let down = stage.chance.between_ms(0, 1000);
        if !is_hasty {
            retries.wait_for_slmd(&stage, &mut load);
        }
        retries.run(&stage, &mut load, up);
        retries.count_kill(&stage);
        stage.broker.kill();
        retries.run(&stage, &mut load, down);
        retries.expect_slmd(&stage);
        stage.broker.restart();
        retries.restarted = Instant::now();
        if number % 5 == 0 || number == plan.count {
            let (asked, open) = (load.prompts().len(), load.open().len());
            let again: u32 = retries.by_cause.values().sum();
            say(&format!("{number} kills, {asked} prompts, {open} open, {again} retries"));
        }
    }
    let last = Instant::now();
    while !load.open().is_empty() && last.elapsed() < LIMIT {
        load.listen();
        retries.look(&stage, &mut load);
        std::thread::sleep(Duration::from_millis(5));
    }
    let settled = last.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    load.listen();
    Some(report(setup, plan, &stage, &load, &retries, settled))
}

/// What was asked again, and why.
struct Retries {
    by_cause: BTreeMap<&'static str, u32>,
    /// Keys that slmd did not answer although it had to.
    lost_by_slmd: BTreeSet<String>,
    owed_at_kills: usize,
    /// Subscriptions of slmd up to the last kill.
    seen: usize,
    restarted: Instant,
    /// When slmd came back after the last restart.
    back: Option<Instant>,
    /// How long it took to come back.
    absences_s: Vec<f64>,
    /// Kills of a broker that slmd had come back to.
    known: usize,
}

/// What waited in the broker has reached slmd so long after it came back.
const SETTLED: Duration = Duration::from_secs(1);
/// slmd waits 30 s at most between two attempts.
const BACK_LIMIT: Duration = Duration::from_secs(35);

impl Retries {
    fn new() -> Self {
        Self {
            by_cause: BTreeMap::new(),
            lost_by_slmd: BTreeSet::new(),
            owed_at_kills: 0,
            seen: 0,
            restarted: Instant::now(),
            back: Some(Instant::now()),
            absences_s: Vec::new(),
            known: 0,
        }
    }

    fn wait_for_slmd(&mut self, stage: &Stage, load: &mut Load) {
        let end = Instant::now() + BACK_LIMIT;
        while self.back.is_none() && Instant::now() < end {
            self.run(stage, load, Duration::from_millis(20));
        }
    }

    /// The broker is about to be killed.
    fn count_kill(&mut self, stage: &Stage) {
        self.known += usize::from(self.back.is_some());
        self.owed_at_kills += stage.owed(0);
    }

    /// The broker is about to start.
    fn expect_slmd(&mut self, stage: &Stage) {
        self.back = None;
        self.seen = stage.ledger.subscriptions(side(0));
    }

    /// Keeps prompts under way for so long.
    fn run(&mut self, stage: &Stage, load: &mut Load, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            load.run(Duration::from_millis(20).min(time));
            self.look(stage, load);
        }
    }

    /// Asks again what is silent for too long.
    fn look(&mut self, stage: &Stage, load: &mut Load) {
        if self.back.is_none() && stage.ledger.subscriptions(side(0)) > self.seen {
            self.back = Some(Instant::now());
            self.absences_s.push(self.restarted.elapsed().as_secs_f64());
        }
        for key in load.open() {
            let silent = load.prompts()[&key].last_asked.elapsed();
            if silent < PATIENCE {
                continue;
            }
            match self.cause(stage, &key, silent) {
                None => {}
                Some(cause) => {
                    *self.by_cause.entry(cause).or_default() += 1;
                    stage.ledger.forget(REQUESTERS, &key);
                    stage.ledger.forget(side(0), &key);
                    load.retry(&key);
                }
            }
        }
    }

    /// Who lost it; none: it is slmd's to answer, or under way to it.
    fn cause(&mut self, stage: &Stage, key: &str, silent: Duration) -> Option<&'static str> {
        let slmd = stage.ledger.account(side(0), key);
        if slmd.is_owed() {
            if silent > OWED_LIMIT {
                self.lost_by_slmd.insert(key.to_owned());
            }
            return None;
        }
        if slmd.confirmed.iter().any(|&reason| reason != NO_SUBSCRIBERS && reason < 0x80) {
            return Some("the broker took the answer from slmd, PUBACK, and lost it");
        }
        if !slmd.confirmed.is_empty() {
            return Some("the broker took the answer, but had lost the requester's subscription");
        }
        if slmd.received > 0 {
            return Some(
                "the broker died between its PUBLISH to slmd and slmd's PUBACK, and lost it",
            );
        }
        // While slmd is not back it waits in the broker, and just after that it is under way.
        self.back.filter(|back| back.elapsed() > SETTLED)?;
        let asked = stage.ledger.account(REQUESTERS, key);
        Some(match asked.confirmed.is_empty() {
            true => "the requester's PUBLISH had no PUBACK; its library does not send it again",
            false => "the broker took the prompt, PUBACK, and lost it before slmd saw it",
        })
    }
}

fn report(
    setup: &Setup,
    plan: Plan,
    stage: &Stage,
    load: &Load,
    retries: &Retries,
    settled: Duration,
) -> Outcome {
    let mut outcome = Outcome::new("kill-broker", setup.seed);
    outcome.tell("kills of the broker", plan.count);
    outcome.tell("of these after slmd had come back to it", retries.known);
    let mut absences = retries.absences_s.clone();
    absences.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| absences[((absences.len() - 1) as f64 * share) as usize];
    let value = format!("{:.1}, {:.1}", at(0.5), at(1.0));
    outcome.tell("seconds until slmd was back: median, longest", value);
    outcome.tell("answers owed at the kills", retries.owed_at_kills);
    outcome.load(load, &load.open());
    outcome.must_be_zero("lost by slmd", retries.lost_by_slmd.len());
    let again = load.prompts().values().filter(|p| p.tries > 1).count();
    outcome.tell("keys asked again", again);
    for (cause, count) in &retries.by_cause {
        outcome.tell(&format!("retries: {cause}"), count);
    }
    outcome.tell("seconds to the last answer after the last restart", settled.as_secs_f32());
    let outcomes = load.outcomes();
    let errors: u32 = outcomes.iter().filter(|(name, _)| *name != "ok").map(|(_, n)| n).sum();
    outcome.must("errors", format!("{errors} {outcomes:?}"), "0", errors == 0);
    let (inferences, keys) = (stage.answered(0), load.prompts().len() as u64);
    let value = format!("{inferences} for {keys} keys");
    outcome.must("answers that slmd computed", value, "one a key", inferences == keys);
    stage.close(&mut outcome);
    outcome
}
