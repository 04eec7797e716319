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
mod check;
mod doctor;
mod interrupt;
mod remote;
mod serve;
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
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Doctor(args) => doctor::run(args),
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

/// Prints facts: as JSON, or one `path.to.fact  value` a line.
fn print_table(facts: &serde_json::Value, json: bool) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let printed = if json {
        writeln!(out, "{facts:#}")
    } else {
        let mut rows = Vec::new();
        flatten(String::new(), facts, &mut rows);
        let width = rows.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
        rows.iter().try_for_each(|(key, value)| writeln!(out, "{key:width$}  {value}"))
    };
    printed.map_err(|e| Failure::output(&e))
}

fn flatten(path: String, facts: &serde_json::Value, rows: &mut Vec<(String, String)>) {
    use serde_json::Value;
    let below = |key: &str| match path.as_str() {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match facts {
        Value::Object(map) => map.iter().for_each(|(key, v)| flatten(below(key), v, rows)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(i, v)| flatten(below(&i.to_string()), v, rows));
        }
        Value::String(text) => rows.push((path, text.clone())),
        Value::Null => rows.push((path, "-".to_owned())),
        other => rows.push((path, other.to_string())),
    }
}
