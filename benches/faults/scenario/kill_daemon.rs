//! SIGKILL of slmd at random points under load; the broker and the requesters stay. A requester
//! publishes each prompt once, so what is lost stays lost.

use super::load::{Load, Style};
use super::{Outcome, Setup, Stage, say, side};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many kills, and how long after it serves at most.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub count: u32,
    pub longest_ms: u64,
}

/// After the last kill everything must be answered within this.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs it; none: the broker is missing.
pub fn run(setup: &Setup, plan: Plan) -> Option<Outcome> {
    let mut stage = Stage::set(setup, &["n"], "queue = 64\nsessions = 2\ncontext-tokens = 512")?;
    let style = Style { under_way: 16, pause: Duration::from_millis(5), long: 300, repeats: true };
    let chance = stage.chance.clone();
    let port = stage.requesters.port();
    let mut load = Load::start(port, 3, "slmd/n/request", "kd-", style, chance);
    let mut kills = Kills { start: Duration::from_millis(500), ..Kills::default() };
    for number in 1..=plan.count {
        kills.one(&mut stage, &mut load, plan);
        if number % 10 == 0 || number == plan.count {
            let (asked, open) = (load.prompts().len(), load.open().len());
            say(&format!("{number} kills, {asked} prompts, {open} open"));
        }
    }
    stage.daemons[0].wait_until_it_serves();
    let last = Instant::now();
    load.settle(LIMIT);
    let settled = last.elapsed();
    // What was published twice may come twice.
    std::thread::sleep(Duration::from_secs(1));
    load.listen();
    Some(report(setup, &stage, &load, &kills, settled))
}

#[derive(Default)]
struct Kills {
    /// How long the last start took that was waited for.
    start: Duration,
    /// Before it served.
    early: u32,
    late: u32,
    /// With prompts that slmd answered for at that moment.
    at_work: u32,
    owed: usize,
    ended_by_itself: u32,
    /// At how many kills a prompt was in slmd's hands.
    hit: HashMap<String, u32>,
}

impl Kills {
    /// Lets it work for a while, kills it and starts it again.
    fn one(&mut self, stage: &mut Stage, load: &mut Load, plan: Plan) {
        let is_early = stage.chance.one_in(4);
        let time = if is_early {
            self.early += 1;
            stage.chance.between_ms(0, self.start.as_millis() as u64 + 100)
        } else {
            self.late += 1;
            let began = Instant::now();
            while !stage.daemons[0].serves() {
                assert!(began.elapsed() < LIMIT, "no start: {}", stage.daemons[0].stderr());
                load.run(Duration::from_millis(5));
                if stage.daemons[0].has_ended().is_some() {
                    break;
                }
            }
            self.start = began.elapsed();
            stage.chance.between_ms(0, plan.longest_ms)
        };
        load.run(time);
        let owed = stage.owed(0);
        self.owed += owed;
        self.at_work += u32::from(owed > 0);
        for key in load.open() {
            if stage.ledger.account(side(0), &key).received > 0 {
                *self.hit.entry(key).or_default() += 1;
            }
        }
        let daemon = &mut stage.daemons[0];
        self.ended_by_itself += u32::from(daemon.has_ended().is_some());
        daemon.kill();
        daemon.start_again();
    }
}

fn report(setup: &Setup, stage: &Stage, load: &Load, kills: &Kills, settled: Duration) -> Outcome {
    let mut outcome = Outcome::new("kill-daemon", setup.seed);
    outcome.tell("kills", kills.early + kills.late);
    outcome.tell("of these before it served", kills.early);
    outcome.tell("of these while slmd owed answers", kills.at_work);
    outcome.tell("answers owed at the kills", kills.owed);
    outcome.must_be_zero("ends that nobody asked for", kills.ended_by_itself as usize);
    outcome.load(load, &load.open());
    let redelivered = stage.ledger.count(side(0), |a| a.received > 1);
    outcome.tell("prompts delivered to slmd more than once", redelivered);
    outcome.tell("keys answered more than once", stage.ledger.count(side(0), |a| a.sent > 1));
    outcome.tell("seconds to the last answer after the last start", settled.as_secs_f32());
    let mut outcomes = load.outcomes();
    outcome.tell("answers", outcomes.remove("ok").unwrap_or(0));
    let twice = outcomes.remove("twice").unwrap_or(0);
    outcome.tell("given up after running at two kills, by design", twice);
    let hit = |key: &String| kills.hit.get(key).copied().unwrap_or(0);
    let unjust = load.of_outcome("twice").into_iter().filter(|key| hit(key) < 2).count();
    outcome.must_be_zero("of these that were in slmd's hands at fewer than two kills", unjust);
    let others: u32 = outcomes.values().sum();
    outcome.must("other errors", format!("{others} {outcomes:?}"), "0", others == 0);
    let (starts, lost) = stage.journal_losses(0);
    outcome.tell("starts that opened the journal", starts);
    outcome.must_be_zero("bytes_lost of the journal", lost as usize);
    stage.close(&mut outcome);
    outcome
}
