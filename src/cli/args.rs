//! The arguments of every command, and the help that teaches them.

use crate::core::request::OnDeadline;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// slmd runs one small language model on an edge device and answers prompts offline.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  slmd ask \"Which room is it warmest in?\"     ask the daemon, or a model in this process
  slmd serve --config /etc/slmd/config.toml   be the daemon
  slmd status                                 what the daemon is doing

Exit codes: 0 done, 64 usage, 65 the request cannot be served, 66 no such file, 69 no daemon,
70 a fault of slmd, 75 try again later, 77 not allowed, 78 configuration, 124 out of time,
130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask one prompt and print the answer
    Ask(AskArgs),
    /// Talk with the model, line by line
    Chat(ChatArgs),
    /// Show what the daemon is doing
    Status(StatusArgs),
    /// End a request of the daemon, by the number that `slmd status` shows
    Cancel(CancelArgs),
    /// Run the daemon
    Serve(ServeArgs),
    /// Say what the memory goes to, and what would fit, before anything is loaded
    Plan(PlanArgs),
    /// Validate a configuration, a board file or a model, without running anything
    Check(CheckArgs),
    /// Show the configuration in force
    Config(super::config::ConfigArgs),
    /// Look at this machine and say what slmd finds and what is missing
    Doctor(DoctorArgs),
    /// Try one execution provider, in the process that the daemon starts for it
    #[command(hide = true)]
    TryProvider,
    /// Install models, and say which one is active
    Model(super::model::ModelArgs),
    /// Try the rules that turn sensor topics into alerts
    Watch(super::watch::WatchArgs),
    /// Try a task on examples whose answers are known
    Task(super::task::TaskArgs),
    /// Fit how sure a task's answers say they are to how often they are right
    Calibrate(Box<super::task::CalibrateArgs>),
    /// Print completions for a shell
    Completions(super::shell::CompletionsArgs),
    /// Write the manual pages, for packages
    #[command(hide = true)]
    Man(super::shell::ManArgs),
}

/// Where the daemon is.
#[derive(Debug, Clone, Default, Args)]
pub struct SocketArgs {
    /// The daemon's socket; left out: /run/slmd/slmd.sock, then slmd/slmd.sock in
    /// $XDG_RUNTIME_DIR
    #[arg(long, value_name = "PATH", env = "SLMD_SOCKET")]
    pub socket: Option<PathBuf>,
}

/// How to answer in this process.
#[derive(Debug, Clone, Default, Args)]
pub struct LocalArgs {
    /// Answer in this process with this engine: auto, ort or tract
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Answer in this process with the model in this directory
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// The configuration, for what is done in this process; left out: /etc/slmd/config.toml
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
}

impl LocalArgs {
    /// Whether the daemon is not to be asked.
    pub fn is_asked_for(&self) -> bool {
        self.engine.is_some() || self.model.is_some()
    }
}

/// How the answer is to be made.
#[derive(Debug, Clone, Default, Args)]
pub struct SamplingArgs {
    /// The most tokens of the answer
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0: always the likeliest token; up to 10
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// The same seed gives the same answer on the same machine
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// End the answer before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// The answer is due in so many milliseconds; what cannot be ready by then is refused
    #[arg(long, value_name = "MS")]
    pub deadline_ms: Option<u32>,
}

/// `slmd ask`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd ask \"Name three metals.\"
  slmd ask --task vehicle \"warmer in the back\"
  slmd ask --deadline-ms 800 --max-tokens 40 \"Is 7.1 mm/s too much for a pump?\"
  journalctl -n 50 | slmd ask --schema alert.schema.json -
  slmd ask --json --choice yes --choice no \"Is 7.1 mm/s too much for a pump?\"
  slmd ask --model ./models/smollm2 --json \"hello\"

A running daemon answers; without one, and always with --engine or --model, this process does.
The text goes to standard output: as it comes to a terminal, whole to a pipe.")]
pub struct AskArgs {
    /// The prompt; `-` or nothing: standard input
    #[arg(value_name = "PROMPT")]
    pub prompt: Option<String>,
    /// A task of the configuration or of the model
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// The answer is JSON valid under the schema in this file
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// The answer is the likeliest of these labels, with the probability of each in --json; repeat it
    #[arg(long, value_name = "LABEL", conflicts_with = "schema")]
    pub choice: Vec<String>,
    /// An answer that is less sure than this says so: 0 to 1
    #[arg(long, value_name = "P")]
    pub min_confidence: Option<f32>,
    /// `complete` an answer of a form when time or tokens run out, or `error`; a task's default is error
    #[arg(long, value_name = "WHAT", value_parser = on_deadline)]
    pub on_deadline: Option<OnDeadline>,
    /// Print the whole reply as one JSON object
    #[arg(long)]
    pub json: bool,
    /// How the answer is to be made.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// How to answer in this process.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `slmd chat`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
In the conversation: /reset forgets it, /quit or Ctrl-D ends, Ctrl-C ends the current answer.")]
pub struct ChatArgs {
    /// What the model is to be
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// How the answers are to be made.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// How to answer in this process.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `slmd status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// `slmd cancel`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
For root and the daemon's own user. The `id` that a client gave is known to its own connection
only: there, send {\"op\":\"cancel\",\"id\":\"...\"}.")]
pub struct CancelArgs {
    /// The request's number
    #[arg(value_name = "NUMBER")]
    pub request: String,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// `slmd serve`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd serve                                  with the defaults and the embedded model
  slmd serve --config /etc/slmd/config.toml
  slmd check --config config.toml             what would be wrong with it")]
pub struct ServeArgs {
    /// The configuration; left out: /etc/slmd/config.toml, if it exists
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// The model's directory, instead of the configuration's
    #[arg(long, value_name = "DIR", env = "SLMD_MODEL")]
    pub model: Option<PathBuf>,
    /// auto, ort or tract, instead of the configuration's
    #[arg(long, value_name = "ENGINE", env = "SLMD_ENGINE")]
    pub engine: Option<String>,
    /// Where to listen, instead of the configuration's unix.path
    #[arg(long, value_name = "PATH", env = "SLMD_SOCKET")]
    pub socket: Option<PathBuf>,
    /// An execution provider of the chain that cannot be used is an error
    #[arg(long)]
    pub strict: bool,
}

/// `slmd plan`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd plan                                   this machine, with the configuration in force
  slmd plan --model ./models/smollm2 --memory 256MiB
  slmd plan --board raspberry-pi-5            another board, in each size that it is sold in
  slmd plan --board raspberry-pi-5 --memory 512MiB
  slmd plan --measure                         load the model once, so that nothing is estimated
  slmd plan --systemd                         the unit's drop-in with the limit that fits the budget

Each line is computed from the model's files, measured on this machine, or estimated until it is
measured: by --measure, or by the first start of the daemon. Ends with 78 if the budget does not
hold it; of several sizes, if none does.")]
pub struct PlanArgs {
    /// The configuration; left out: /etc/slmd/config.toml, if it exists
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Another board: a profile's name, or its file
    #[arg(long, value_name = "BOARD")]
    pub board: Option<String>,
    /// The model's directory, instead of the configuration's
    #[arg(long, value_name = "DIR", env = "SLMD_MODEL")]
    pub model: Option<PathBuf>,
    /// auto, ort or tract, instead of the configuration's
    #[arg(long, value_name = "ENGINE", env = "SLMD_ENGINE")]
    pub engine: Option<String>,
    /// The budget, instead of the configuration's: 256MiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Load the model, run its largest step, and remember what that took
    #[arg(long)]
    pub measure: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print a drop-in for the systemd unit
    #[arg(long, conflicts_with = "json")]
    pub systemd: bool,
}

/// `slmd check`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd check                                  the configuration in force
  slmd check --config config.toml --model ./models/smollm2
  slmd check --board ./my-board.toml          a board file of one's own
  slmd check --board raspberry-pi-5           what is in a profile
  slmd check --boards                         all of them")]
pub struct CheckArgs {
    /// A configuration
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// A board: a profile's name, or the path of its file
    #[arg(long, value_name = "BOARD")]
    pub board: Option<String>,
    /// Every profile in this build
    #[arg(long)]
    pub boards: bool,
    /// A model's directory: layout, hashes, inputs and outputs, templates
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `slmd doctor`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd doctor                                 what is here, and what the model runs on
  slmd doctor --all                           try every provider that ONNX Runtime's library has
  slmd doctor --model ./models/smollm2 --json

Each execution provider of the board or of the configuration runs the model in a process of its
own: its answers are held against the CPU's, and its steps are timed. What came of it is remembered
for this model, library, driver and board.")]
pub struct DoctorArgs {
    /// The configuration; left out: /etc/slmd/config.toml, if it exists
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// The model's directory, instead of the configuration's
    #[arg(long, value_name = "DIR", env = "SLMD_MODEL")]
    pub model: Option<PathBuf>,
    /// Try every provider that ONNX Runtime's library has, not only those of the chain
    #[arg(long)]
    pub all: bool,
    /// Try nothing: say only what is remembered
    #[arg(long, conflicts_with = "all")]
    pub quick: bool,
    /// End with 69 if a provider of the chain cannot be used
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn on_deadline(name: &str) -> Result<OnDeadline, String> {
    let found = OnDeadline::ALL.into_iter().find(|then| then.name() == name);
    found.ok_or_else(|| "it is error or complete".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn prompts_that_look_like_numbers_or_dashes_are_prompts() {
        let Command::Ask(args) = Cli::parse_from(["slmd", "ask", "-"]).command else {
            panic!("ask")
        };
        assert_eq!(args.prompt.as_deref(), Some("-"));
        assert!(Cli::try_parse_from(["slmd", "ask", "--max-tokens", "x", "hello"]).is_err());
    }
}
