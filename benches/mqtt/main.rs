//! The figures of the MQTT front end, of the real binary and a real mosquitto on the loopback
//! address. `cargo bench --bench mqtt -- --help`; `docs/benchmarks.md` says how to read them.

mod away;
#[path = "../../tests/common/daemon.rs"]
mod daemon;
mod frozen;
mod limits;
mod memory;
#[path = "../../tests/common/mosquitto.rs"]
mod mosquitto;
mod overhead;
mod peer;
mod process;
mod report;
mod site;
mod urgent;

use clap::{Parser, Subcommand};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Overhead, memory and behaviour of slmd on MQTT. Progress goes to standard error, tables to
/// standard output. Without the test models of onnx/make-test-models some scenarios are skipped,
/// without mosquitto all of them.
#[derive(Parser)]
#[command(
    name = "cargo bench --bench mqtt --",
    after_help = "All of it takes about 15 minutes, ten of which are `away`:\n  \
                  cargo bench --bench mqtt -- all --json figures.json\nA quick look:\n  \
                  cargo bench --bench mqtt -- overhead --blocks 2 --requests 50\nOf a daemon that \
                  was built otherwise:\n  cargo bench --bench mqtt -- --slmd target/quick/slmd urgent"
)]
struct Args {
    /// The daemon; left out: the one that was built with this bench.
    #[arg(long, global = true)]
    slmd: Option<PathBuf>,
    /// Where to write everything as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// End with 1 if an aim was missed.
    #[arg(long, global = true)]
    strict: bool,
    /// What to measure; left out: all of it.
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Subcommand, Clone)]
enum Scenario {
    /// What MQTT costs over the socket: the same prompt by both, and past slmd through the broker
    /// alone, in turns (F10).
    Overhead(overhead::Options),
    /// What MQTT costs in memory: with and without, plain and TLS (F11).
    Memory(memory::Options),
    /// What an absent broker costs: processor time and attempts (F5).
    Away(away::Options),
    /// When a frozen broker is noticed, idle and while streaming (F6).
    Frozen(frozen::Options),
    /// How soon an urgent prompt and a cancel get through a full queue (F7).
    Urgent(urgent::Options),
    /// What is too large either way: one error, no reconnect (F8).
    Limits,
    /// All of it, with the counts that are reported.
    All,
}

fn main() -> ExitCode {
    let args = Args::parse_from(std::env::args().filter(|a| a != "--bench"));
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_slmd"));
    let slmd = args.slmd.clone().unwrap_or_else(built);
    if mosquitto::program("mosquitto").is_none() {
        eprintln!("SKIP: no mosquitto: apt-get install mosquitto");
        return ExitCode::SUCCESS;
    }
    let mut reports = Vec::new();
    for scenario in scenarios(args.scenario.clone().unwrap_or(Scenario::All)) {
        let report = match &scenario {
            Scenario::Overhead(options) => overhead::measure(&slmd, options),
            Scenario::Memory(options) => memory::measure(&slmd, options),
            Scenario::Away(options) => away::measure(&slmd, options),
            Scenario::Frozen(options) => frozen::measure(&slmd, options),
            Scenario::Urgent(options) => urgent::measure(&slmd, options),
            Scenario::Limits => limits::measure(&slmd),
            Scenario::All => continue,
        };
        report.print();
        reports.push(report);
    }
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&reports)).expect("written");
    }
    match args.strict && !reports.iter().all(Report::is_met) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn scenarios(wanted: Scenario) -> Vec<Scenario> {
    match wanted {
        Scenario::All => vec![
            Scenario::Limits,
            Scenario::Frozen(frozen::Options::default()),
            Scenario::Urgent(urgent::Options::default()),
            Scenario::Memory(memory::Options::default()),
            Scenario::Overhead(overhead::Options::default()),
            Scenario::Away(away::Options::default()),
        ],
        one => vec![one],
    }
}
