//! One key, asked many times: one inference and the same bytes every time, also when slmd is killed
//! meanwhile.

use super::load::{Load, Style, tale};
use super::{Outcome, Setup, Stage, say, side};
use std::time::{Duration, Instant};

/// How many copies of a key, and how many keys of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub count: u32,
    pub rounds: u32,
}

const LIMIT: Duration = Duration::from_secs(60);

/// When slmd is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Never,
    /// While it works on the prompt.
    AtWork,
    /// After the first reply was heard.
    Answered,
}

impl Kill {
    const fn name(self) -> &'static str {
        match self {
            Self::Never => "no kill",
            Self::AtWork => "killed at work",
            Self::Answered => "killed after the first reply",
        }
    }
}

/// Runs it; none: the broker is missing.
pub fn run(setup: &Setup, plan: Plan) -> Option<Outcome> {
    let mut outcome = Outcome::new("same-key", setup.seed);
    let mut stage = Stage::set(setup, &["n"], "queue = 64\nsessions = 1\ncontext-tokens = 512")?;
    let style = Style { under_way: 0, pause: Duration::ZERO, long: 0, repeats: false };
    let (port, chance) = (stage.requesters.port(), stage.chance.clone());
    let mut load = Load::start(port, 1, "slmd/n/request", "sk-", style, chance);
    for kill in [Kill::Never, Kill::AtWork, Kill::Answered] {
        let inferences: Vec<u64> =
            (0..plan.rounds).map(|_| round(&mut stage, &mut load, plan, kill)).collect();
        // Those of the life that ended with the kill at work are in no counter, but had no answer.
        let most = u64::from(kill != Kill::Answered);
        let name = format!("inferences that ended, for each key sent {} times: ", plan.count);
        let wanted = if most == 1 { "1 each" } else { "0 each after the kill" };
        let is_met = inferences.iter().all(|&n| n == most);
        outcome.must(&(name + kill.name()), format!("{inferences:?}"), wanted, is_met);
        say(&format!("{}: {} keys", kill.name(), plan.rounds));
    }
    outcome.load(&load, &load.open());
    stage.close(&mut outcome);
    Some(outcome)
}

/// One key; gives how many inferences ended in the life that is left.
fn round(stage: &mut Stage, load: &mut Load, plan: Plan, kill: Kill) -> u64 {
    let before = stage.answered(0);
    // Long enough to be killed at work, whatever the machine.
    let key = load.ask(tale("Same", 400), false);
    (1..plan.count / 2).for_each(|_| load.publish(&key));
    match kill {
        Kill::Never => {}
        Kill::AtWork => {
            let end = Instant::now() + LIMIT;
            while stage.ledger.account(side(0), &key).acked == 0 {
                assert!(Instant::now() < end, "slmd does not take the prompt");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(stage.ledger.account(side(0), &key).is_owed(), "answered too fast");
        }
        Kill::Answered => assert!(load.settle(LIMIT), "no reply"),
    }
    let base = if kill == Kill::Never {
        before
    } else {
        stage.daemons[0].kill();
        stage.daemons[0].start_again();
        0
    };
    (plan.count / 2..plan.count).for_each(|_| load.publish(&key));
    stage.daemons[0].wait_until_it_serves();
    load.settle(LIMIT);
    load.run(Duration::from_millis(300));
    // Each of these gets a reply of its own.
    for _ in 0..3 {
        let heard = load.replies;
        load.publish(&key);
        let end = Instant::now() + LIMIT;
        while load.replies == heard && Instant::now() < end {
            load.listen();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(load.replies > heard, "a known key is not answered");
    }
    stage.answered(0) - base
}
