//! The arguments of `slmd task` and `slmd calibrate`.

use super::super::args::{LocalArgs, SocketArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `slmd task`.
#[derive(Debug, Clone, Args)]
pub struct TaskArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TaskCommand,
}

/// The commands of `slmd task`.
#[derive(Debug, Clone, Subcommand)]
pub enum TaskCommand {
    /// Ask a task for labelled examples, and say how often it was right, how sure and how fast
    Test(Box<TaskTestArgs>),
}

/// `slmd task test`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd task test --task vehicle commands.jsonl
  slmd task test --task vehicle --field /actions/*/signal --wrong 10 commands.jsonl
  slmd task test --task alert --model ./models/new --json alerts.jsonl

A line of the file is {\"prompt\": \"warmer in the back\", \"answer\": {...}}: `text` is as good as `prompt`,
`vars` are those of the task's template, `answer` is the right one, as text or as JSON. Lines with another
`task` are left out; `source` is counted apart.

A running daemon answers; without one, and always with --engine or --model, this process does.

Exit codes: 0 done, 65 no such lines, 66 no such file, 69 no daemon, 130 interrupted.")]
pub struct TaskTestArgs {
    /// The examples, a line of JSON each
    #[arg(value_name = "FILE")]
    pub examples: PathBuf,
    /// The task
    #[arg(long, value_name = "NAME")]
    pub task: String,
    /// Only the value at this JSON pointer has to be right; `*` is any name or index; may be repeated
    #[arg(long, value_name = "POINTER")]
    pub field: Vec<String>,
    /// Ask for so many examples at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub limit: usize,
    /// Print so many of the wrong answers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub wrong: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// How to answer in this process.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `slmd calibrate`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd calibrate --task vehicle labels.jsonl
  slmd calibrate --task alert --config /etc/slmd/config.toml --dry-run labels.jsonl

Asks the task for each example (as `slmd task test` reads them) in this process, fits the temperature
with which its confidence comes closest to how often it is right, and keeps that in the state directory
for this task on this model. The daemon takes it at its next start or reload. A few hundred examples
that the model was not trained on are enough; fewer than 50 say little.

Exit codes: 0 done, 65 too few examples, 66 no such file, 73 it cannot be kept, 78 configuration.")]
pub struct CalibrateArgs {
    /// The examples, a line of JSON each
    #[arg(value_name = "FILE")]
    pub examples: PathBuf,
    /// The task
    #[arg(long, value_name = "NAME")]
    pub task: String,
    /// Ask for so many examples at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub limit: usize,
    /// Say what would be kept, and keep nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to answer.
    #[command(flatten)]
    pub local: LocalArgs,
}
