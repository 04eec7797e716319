//! The arguments of `slmd watch`.

use super::super::args::LocalArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `slmd watch`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: WatchCommand,
}

/// The commands of `slmd watch`.
#[derive(Debug, Clone, Subcommand)]
pub enum WatchCommand {
    /// Replay a recorded series through a watch, and print what it would have published
    Test(Box<WatchTestArgs>),
}

/// `slmd watch test`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd watch test --csv press.csv --when \"max > 7.1\"
      a rule, tried on the last column of a file with times in its first one
  slmd watch test --csv press.csv --when \"mean < 50\" --clear \"mean > 60\" --window 1h --hold 30m
      the same with hysteresis; `min max mean last slope stddev count span_s age_s topic levels`
      are known to rules
  slmd watch test --config slmd.toml --watch vibration --csv press.csv --no-model
      the [[watch]] of a configuration, without asking the model
  slmd watch test --config slmd.toml --csv values.txt --step 5s --json
      one number a line, one every five seconds; JSON lines for a script

Times are Unix seconds or milliseconds, RFC 3339, or 2026-01-31 12:00:00 (taken as UTC). The series
is replayed in virtual time: a month takes seconds, and the model's real time where it is asked.

Exit codes: 0 done, 64 usage, 65 nothing to replay, 66 no such file, 78 configuration.")]
pub struct WatchTestArgs {
    /// The recorded series; `-`: standard input
    #[arg(long, value_name = "FILE")]
    pub csv: PathBuf,
    /// Which watch, if there are several
    #[arg(long, value_name = "NAME", conflicts_with = "when")]
    pub watch: Option<String>,
    /// The samples' topic; left out: the watch's, with `1`, `2` for its wildcards
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// The column of the values, by name or number (from 1); left out: `value`, or the last one
    #[arg(long, value_name = "NAME|N")]
    pub value_column: Option<String>,
    /// The column of the times, by name or number (from 1); left out: `timestamp`, `time`, or the
    /// first one
    #[arg(long, value_name = "NAME|N", conflicts_with = "step")]
    pub time_column: Option<String>,
    /// There are no times: a row every so often, as 500ms, 5s or 5m
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// Do not ask the model: alerts without answers
    #[arg(long)]
    pub no_model: bool,
    /// Print JSON lines, the summary last
    #[arg(long)]
    pub json: bool,
    /// A rule without a configuration.
    #[command(flatten)]
    pub rule: RuleArgs,
    /// How to answer in this process.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// A watch on the command line; the keys are those of `[[watch]]`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "A rule without a configuration")]
pub struct RuleArgs {
    /// Trip when this holds
    #[arg(long, value_name = "RULE")]
    pub when: Option<String>,
    /// Clear when this holds; left out: when --when does not
    #[arg(long, value_name = "RULE", requires = "when")]
    pub clear: Option<String>,
    /// How far back to look; left out: 60s
    #[arg(long, value_name = "DURATION", requires = "when")]
    pub window: Option<String>,
    /// The window by count
    #[arg(long, value_name = "N", requires = "when")]
    pub window_samples: Option<i64>,
    /// Below it the statistics are not known
    #[arg(long, value_name = "N", requires = "when")]
    pub min_samples: Option<i64>,
    /// The rule must hold so long before it trips
    #[arg(long, value_name = "DURATION", requires = "when")]
    pub hold: Option<String>,
    /// After an alert the next trip waits so long; left out: 60s
    #[arg(long, value_name = "DURATION", requires = "when")]
    pub cooldown: Option<String>,
    /// While tripped, again so often
    #[arg(long, value_name = "DURATION", requires = "when")]
    pub repeat: Option<String>,
    /// The task to run; left out: the model is not asked
    #[arg(long, value_name = "NAME", requires = "when")]
    pub task: Option<String>,
}
