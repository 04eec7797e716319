//! Faults, on purpose, under load, with a real broker and the real binary: what is promised in
//! `docs/mqtt.md` and `docs/journal.md` is counted. Used by `benches/faults` with large counts and
//! by `tests/mqtt_faults.rs` with small ones.
#![allow(dead_code, reason = "the test and the bench use different parts")]

mod chance;
pub mod fleet;
pub mod fresh_broker;
pub mod kill_broker;
pub mod kill_daemon;
mod ledger;
mod load;
pub mod outcome;
#[path = "../../../tests/common/random.rs"]
mod random;
pub mod same_key;
mod tap;

use crate::common::daemon::Daemon;
use crate::common::mosquitto::Mosquitto;
pub use chance::Chance;
use ledger::Ledger;
pub use outcome::Outcome;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tap::Tap;

/// What every scenario needs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The daemon's program.
    pub slmd: PathBuf,
    /// The bundle that it runs.
    pub model: PathBuf,
    /// Of the faults' times and the prompts.
    pub seed: u64,
}

/// A broker, the daemons on it and a tap before each of them and before the requesters.
struct Stage {
    broker: Mosquitto,
    ledger: Arc<Ledger>,
    requesters: Tap,
    /// Of each daemon, in their order.
    taps: Vec<Tap>,
    daemons: Vec<Daemon>,
    chance: Chance,
    began: Instant,
}

impl Stage {
    /// With these nodes, all of the group `line`; or a message and none. `budget` has the lines of
    /// that table.
    fn set(setup: &Setup, nodes: &[&str], budget: &str) -> Option<Self> {
        let began = Instant::now();
        let broker = Mosquitto::start("")?;
        let ledger = Arc::new(Ledger::default());
        let requesters = Tap::start(broker.port(), ledger::REQUESTERS, &ledger);
        let tap = |i: usize| Tap::start(broker.port(), side(i), &ledger);
        let taps: Vec<Tap> = (0..nodes.len()).map(tap).collect();
        let start = |(node, tap): (&&str, &Tap)| {
            let config = format!(
                "engine = \"tract\"\n[budget]\n{budget}\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n\
                 node = {node:?}\ngroups = [\"line\"]\nreply-topics = [\"clients/#\"]\n",
                tap.port()
            );
            let model = setup.model.display().to_string();
            Daemon::start_logging(&setup.slmd, &config, &["--model", &model], "info")
        };
        let daemons = nodes.iter().zip(&taps).map(start).collect();
        let chance = Chance::new(setup.seed);
        let stage = Self { broker, ledger, requesters, taps, daemons, chance, began };
        (0..nodes.len()).for_each(|i| stage.wait_until_subscribed(i, 1));
        Some(stage)
    }

    /// Until the daemon has subscribed so often, over all of its lives: before the first time,
    /// nothing is kept for it.
    fn wait_until_subscribed(&self, daemon: usize, times: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.ledger.subscriptions(side(daemon)) < times {
            assert!(Instant::now() < end, "it does not connect: {}", self.daemons[daemon].stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Prompts that slmd answers for just now.
    fn owed(&self, daemon: usize) -> usize {
        self.ledger.count(side(daemon), ledger::Account::is_owed)
    }

    /// What a daemon counted of its requests since it started: answers, and errors of all codes.
    fn answered(&self, daemon: usize) -> u64 {
        let status = self.daemons[daemon].client().status().expect("a status");
        status["requests"]["answered"].as_u64().expect("a number")
    }

    /// `bytes_lost` of all starts of a daemon that got as far as its journal, and their number.
    fn journal_losses(&self, daemon: usize) -> (usize, u64) {
        let log = self.daemons[daemon].stderr();
        let opened: Vec<u64> = log
            .lines()
            .filter(|line| line.contains("journal opened"))
            .map(|line| {
                let figure = line.split("bytes_lost=").nth(1).unwrap_or_default();
                let digits: String = figure.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().expect("bytes_lost is logged")
            })
            .collect();
        (opened.len(), opened.iter().sum())
    }

    /// Said by all scenarios.
    fn close(&self, outcome: &mut Outcome) {
        outcome.must_be_zero("packets that the tap could not read", self.ledger.misreads());
        outcome.seconds = self.began.elapsed().as_secs_f64();
    }
}

/// The ledger's number of a daemon.
const fn side(daemon: usize) -> usize {
    ledger::REQUESTERS + 1 + daemon
}

/// Progress, on stderr.
fn say(text: &str) {
    eprintln!("  {text}");
}
