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
mod chat;
mod interrupt;
mod remote;
mod seams;
mod status;

pub use args::{
    AskArgs, CancelArgs, ChatArgs, CheckArgs, Cli, Command, DoctorArgs, LocalArgs, SamplingArgs,
    ServeArgs, SocketArgs, StatusArgs,
};

use clap::Parser;
use exit::{Failure, USAGE};
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
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
        Command::Serve(args) => seams::serve(args),
        Command::Check(args) => seams::check(args),
        Command::Doctor(args) => seams::doctor(args),
    }
}
