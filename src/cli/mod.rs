//! The `slmd` command: what it takes, and which module does it.
//!
//! Errors go to standard error as `slmd: what is wrong`, with what to do next on the line below,
//! and end the process with a code of `sysexits` (see [`exit`]). A flag beats its environment
//! variable (`SLMD_*`), which beats the configuration file.

pub mod answerer;
pub mod exit;
pub mod local;
pub mod term;

mod args;
mod ask;
mod boards;
mod chat;
mod check;
mod config;
mod doctor;
mod facts;
mod interrupt;
mod model;
mod plan;
mod plan_sizes;
mod remote;
mod serve;
mod shell;
mod status;
mod task;
mod try_provider;
mod watch;

pub use args::{
    AskArgs, CancelArgs, ChatArgs, CheckArgs, Cli, Command, DoctorArgs, LocalArgs, PlanArgs,
    SamplingArgs, ServeArgs, SocketArgs, StatusArgs,
};

pub use config::{ConfigArgs, ConfigCommand, ConfigShowArgs};
pub use model::{
    ActivateArgs, InstallArgs, ModelArgs, ModelCommand, RemoveArgs, RollbackArgs, StoreArgs,
    TrialArgs, VerifyArgs,
};
pub use shell::{CompletionsArgs, ManArgs, Shell};
pub use task::{CalibrateArgs, TaskArgs, TaskCommand, TaskTestArgs};
pub use watch::{RuleArgs, WatchArgs, WatchCommand, WatchTestArgs};

use clap::Parser;
use exit::{Failure, USAGE};
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    crate::engine::share_heap();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Nobody is left to hear that printing failed.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { USAGE } else { exit::OK });
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Ask(args) => ask::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Status(args) => status::status(args),
        Command::Cancel(args) => status::cancel(args),
        Command::Serve(args) => serve::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Check(args) => check::run(args),
        Command::Config(args) => config::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::TryProvider => try_provider::run(),
        Command::Model(args) => model::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Task(args) => task::run(args),
        Command::Calibrate(args) => task::calibrate(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    }
}

/// Logs go to standard error; `SLMD_LOG` says how much (`debug`, `slmd=trace`, ...).
fn log_to_stderr(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("SLMD_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second call in one process is only the tests'.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(term::has_colour())
        .try_init();
}
