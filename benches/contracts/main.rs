//! The two contracts on a real engine: what is let in is met, and the memory stays within its
//! budget. `cargo bench --bench contracts -- --help`; `docs/contracts.md` says how to read it.

mod batch;
#[allow(dead_code, reason = "the socket bench uses more of it")]
#[path = "../socket/bundle.rs"]
mod bundle;
mod cost;
#[path = "../../tests/common/daemon.rs"]
mod daemon;
mod idle;
mod llama;
mod load;
mod machine;
mod memory;
mod met;
mod mix;
mod model;
#[path = "../../tests/common/mosquitto.rs"]
mod mosquitto;
mod peers;
#[allow(dead_code, reason = "the MQTT bench uses more of it")]
#[path = "../mqtt/process.rs"]
mod process;
#[path = "../../tests/common/random.rs"]
mod random;
#[path = "../mqtt/report.rs"]
mod report;
mod server;
mod site;
mod socket;
mod urgent;

use clap::{Parser, Subcommand};
use model::Model;
use report::Report;
use site::Site;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Deadlines, urgent requests, memory, idling and prices of a real daemon on a real engine, asked
/// through its socket. Progress goes to standard error, tables to standard output.
#[derive(Parser)]
#[command(
    name = "cargo bench --bench contracts --",
    after_help = "A quick look at a daemon that was built otherwise:\n  \
                  cargo bench --bench contracts -- --slmd target/quick/slmd met --count 100\n\
                  Another model, on both engines:\n  \
                  cargo bench --bench contracts -- --models BUNDLE --engines tract,ort urgent"
)]
struct Args {
    /// The daemon; left out: the one that was built with this bench.
    #[arg(long, global = true)]
    slmd: Option<PathBuf>,
    /// `default`, which is the built-in model, or bundles of the GenAI layout.
    #[arg(long, global = true, value_delimiter = ',', default_value = "default")]
    models: Vec<String>,
    /// Engines.
    #[arg(long, global = true, value_delimiter = ',', default_value = "tract")]
    engines: Vec<String>,
    /// Threads of a step.
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
    /// `latency.max-step-ms`.
    #[arg(long, global = true, default_value_t = 60)]
    max_step_ms: u32,
    /// Of the requests and their times.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Where to write everything as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// End with 1 if an aim was missed.
    #[arg(long, global = true)]
    strict: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand, Clone)]
enum Scenario {
    /// Requests at random times, at multiples of the capacity: what is let in and not met, how late
    /// that is, and how much of the work was useful.
    Met(met::Options),
    /// What an urgent request waits because four long jobs run.
    Urgent(urgent::Options),
    /// The counted memory over many mixed requests: its peak and its drift.
    Memory(memory::Options),
    /// The plan's own minimum as the budget, and 5 % less.
    Minimum,
    /// Processor time and wake-ups of a daemon that has nothing to do.
    Idle(idle::Options),
    /// What the daemon says that a request needs, against what it takes.
    Cost(cost::Options),
    /// What two and four sessions decode together, against one.
    Batch(batch::Options),
    /// The same loads on slmd and on llama-server.
    Peers(peers::Options),
}

impl Scenario {
    fn report(&self) -> Report {
        match self {
            Self::Met(_) => met::report(),
            Self::Urgent(_) => urgent::report(),
            Self::Memory(_) => memory::report(),
            Self::Minimum => memory::minimum_report(),
            Self::Idle(_) => idle::report(),
            Self::Cost(_) => cost::report(),
            Self::Batch(_) => batch::report(),
            Self::Peers(_) => peers::report(),
        }
    }

    fn measure(&self, site: &Site, report: &mut Report) {
        match self {
            Self::Met(options) => met::measure(site, options, report),
            Self::Urgent(options) => urgent::measure(site, options, report),
            Self::Memory(options) => memory::measure(site, options, report),
            Self::Minimum => memory::minimum(site, report),
            Self::Idle(options) => idle::measure(site, options, report),
            Self::Cost(options) => cost::measure(site, options, report),
            Self::Batch(options) => batch::measure(site, options, report),
            Self::Peers(options) => peers::measure(site, options, report),
        }
    }
}

/// What the daemon measures is remembered for as long as the bench runs, and `slmd plan` sees it.
const CACHE: &str = "CACHE_DIRECTORY";

fn main() -> ExitCode {
    if std::env::var_os(CACHE).is_some() {
        return run();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let this = std::env::current_exe().expect("its own file");
    let mut again = Command::new(this);
    again.args(std::env::args_os().skip(1)).env(CACHE, folder.path());
    let code = again.status().expect("it runs").code();
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn run() -> ExitCode {
    let args = Args::parse_from(std::env::args().filter(|a| a != "--bench"));
    let mut report = args.scenario.report();
    for named in &args.models {
        for engine in &args.engines {
            let Some(model) = Model::open(named) else { continue };
            let built = || PathBuf::from(env!("CARGO_BIN_EXE_slmd"));
            let site = Site {
                slmd: args.slmd.clone().unwrap_or_else(built),
                model,
                engine: engine.clone(),
                threads: args.threads,
                max_step_ms: args.max_step_ms,
                seed: args.seed,
            };
            eprintln!("{}, {engine}; load average {:.1}", site.model.name, machine::load_average());
            args.scenario.measure(&site, &mut report);
            // After each, so that what was measured is not lost with the rest.
            if let Some(path) = &args.json {
                std::fs::write(path, report::json(std::slice::from_ref(&report))).expect("written");
            }
        }
    }
    report.print();
    match args.strict && !report.is_met() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
