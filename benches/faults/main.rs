//! Faults on purpose, with large counts. `cargo bench --bench faults -- --help`.

#[path = "../../tests/common/mod.rs"]
mod common;
mod scenario;

use clap::{Parser, Subcommand};
use scenario::{Chance, Outcome, Setup, fleet, fresh_broker, kill_broker, kill_daemon, same_key};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Kills slmd or the broker while prompts are under way, and counts what is lost, what is answered
/// twice and differently, and what is computed twice.
///
/// Needs mosquitto and a test model (onnx/make-test-models). The broker is real, the daemon is the
/// real binary, the requesters are foreign MQTT clients; a proxy before each of them reads along and
/// is the witness of who lost what. Ends with 1 if a figure is not as it must be.
///
///     cargo bench --bench faults -- kill-daemon --count 200
///     cargo bench --bench faults -- --slmd target/quick/slmd --json faults.json all
#[derive(Parser)]
#[command(name = "cargo bench --bench faults --", verbatim_doc_comment)]
struct Args {
    /// The daemon's program; left out: the one that was built with this bench.
    #[arg(long, global = true)]
    slmd: Option<PathBuf>,
    /// A bundle with a fast, talkative model; left out: the test model stories260k-fp32.
    #[arg(long, global = true)]
    model: Option<PathBuf>,
    /// Of the random times and prompts; left out: from the clock. It is printed.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Where to write everything as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Subcommand)]
enum Scenario {
    /// SIGKILL of slmd, a quarter of the times before it serves: nothing lost, one answer a key.
    KillDaemon {
        /// Kills.
        #[arg(long, default_value_t = 200)]
        count: u32,
        /// Milliseconds that it serves at most.
        #[arg(long, default_value_t = 1500)]
        longest_ms: u64,
    },
    /// SIGKILL of the broker, which keeps its files: every prompt reaches a final state.
    KillBroker {
        /// Kills.
        #[arg(long, default_value_t = 50)]
        count: u32,
        /// Milliseconds that it is up at least after slmd has come back to it, three times of four.
        #[arg(long, default_value_t = 5500)]
        shortest_ms: u64,
        /// The same at most.
        #[arg(long, default_value_t = 8000)]
        longest_ms: u64,
    },
    /// The broker dies and loses its files: all unconfirmed answers are published again.
    FreshBroker {
        /// Times.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// Prompts each time, at most 64.
        #[arg(long, default_value_t = 32)]
        prompts: u32,
    },
    /// One key many times: one inference, the same bytes.
    SameKey {
        /// Copies of each key.
        #[arg(long, default_value_t = 100)]
        count: u32,
        /// Keys of each kind: without a kill, killed at work, killed after the first reply.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Three daemons share the work; one is killed and comes back, one drains, one is gone.
    Fleet {
        /// Prompts in each of the four parts.
        #[arg(long, default_value_t = 600)]
        count: usize,
    },
    /// All of them, with these counts.
    All,
}

fn main() -> ExitCode {
    let args = Args::parse_from(std::env::args().filter(|a| a != "--bench"));
    let Some(chosen) = &args.scenario else {
        // `cargo bench` runs everything; this would take it half an hour.
        eprintln!("SKIP: faults: name a scenario; cargo bench --bench faults -- --help");
        return ExitCode::SUCCESS;
    };
    let Some(model) = args.model.clone().or_else(|| common::model_dir("stories260k-fp32")) else {
        return ExitCode::SUCCESS;
    };
    let program = Path::new(env!("CARGO_BIN_EXE_slmd")).to_owned();
    let seed = args.seed.unwrap_or_else(Chance::fresh_seed);
    let setup = Setup { slmd: args.slmd.clone().unwrap_or(program), model, seed };
    let outcomes = run(&setup, chosen);
    let is_good = outcomes.iter().all(Outcome::is_good);
    if let Some(path) = &args.json {
        let whole: Vec<_> = outcomes.iter().map(Outcome::json).collect();
        let text = format!("{:#}\n", serde_json::Value::from(whole));
        std::fs::write(path, text).expect("written");
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints each table as soon as it is there.
fn run(setup: &Setup, chosen: &Scenario) -> Vec<Outcome> {
    let every = [
        Scenario::KillDaemon { count: 200, longest_ms: 1500 },
        Scenario::KillBroker { count: 50, shortest_ms: 5500, longest_ms: 8000 },
        Scenario::FreshBroker { count: 20, prompts: 32 },
        Scenario::SameKey { count: 100, rounds: 5 },
        Scenario::Fleet { count: 600 },
    ];
    let chosen = match chosen {
        Scenario::All => &every[..],
        one => std::slice::from_ref(one),
    };
    let mut outcomes = Vec::new();
    for scenario in chosen {
        eprintln!("{} (seed {})", name(scenario), setup.seed);
        let Some(outcome) = run_one(setup, scenario) else { return outcomes };
        print!("{}", outcome.table());
        outcomes.push(outcome);
    }
    outcomes
}

const fn name(scenario: &Scenario) -> &'static str {
    match scenario {
        Scenario::KillDaemon { .. } => "kill-daemon",
        Scenario::KillBroker { .. } => "kill-broker",
        Scenario::FreshBroker { .. } => "fresh-broker",
        Scenario::SameKey { .. } => "same-key",
        Scenario::Fleet { .. } => "fleet",
        Scenario::All => "all",
    }
}

fn run_one(setup: &Setup, scenario: &Scenario) -> Option<Outcome> {
    match *scenario {
        Scenario::KillDaemon { count, longest_ms } => {
            kill_daemon::run(setup, kill_daemon::Plan { count, longest_ms })
        }
        Scenario::KillBroker { count, shortest_ms, longest_ms } => {
            kill_broker::run(setup, kill_broker::Plan { count, shortest_ms, longest_ms })
        }
        Scenario::FreshBroker { count, prompts } => {
            fresh_broker::run(setup, fresh_broker::Plan { count, prompts })
        }
        Scenario::SameKey { count, rounds } => {
            same_key::run(setup, same_key::Plan { count, rounds })
        }
        Scenario::Fleet { count } => fleet::run(setup, fleet::Plan { count }),
        Scenario::All => None,
    }
}
