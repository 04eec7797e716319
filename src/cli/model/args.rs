//! The arguments of `slmd model`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `slmd model`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  slmd model install pump-7.tar.gz            copy it, check it, leave the active model as it is
  slmd model install --activate pump-7.tar.gz and make it the active one, if it passes its trial
  slmd model activate b --reload              the one in slot b, and tell the daemon
  slmd model rollback                         the one that was active before
  slmd model list

There are two slots. One holds the active model, which `current` in the store's folder is a link
to; a new one goes into the other. For the daemon to take the active one, its configuration says
model = \"/var/lib/slmd/models/current\".")]
pub struct ModelArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// The commands of `slmd model`.
#[derive(Debug, Clone, Subcommand)]
pub enum ModelCommand {
    /// Copy or unpack a model into the slot that is not active
    Install(InstallArgs),
    /// Show what is installed
    List(StoreArgs),
    /// Read what is installed again and hold it against its hashes and its signature
    Verify(VerifyArgs),
    /// Make an installed model the active one, if it passes its trial
    Activate(ActivateArgs),
    /// Make the model active that was active before, if it passes its trial
    Rollback(RollbackArgs),
    /// Remove the model that is not active
    Remove(RemoveArgs),
    /// Try a model in this process
    #[command(hide = true)]
    Trial(TrialArgs),
}

/// Where the models are, and how to tell.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// The folder of the models, instead of the configuration's models.dir
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// The configuration; left out: /etc/slmd/config.toml, if it exists
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `slmd model install`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
A model is a folder, a .tar or a .tar.gz with slmd.toml in it, which lists every file with its hash.
If the configuration has models.keys, slmd.toml.minisig beside it must be the signature of slmd.toml
with one of these keys.")]
pub struct InstallArgs {
    /// The archive, or the folder
    #[arg(value_name = "FILE|DIR")]
    pub source: PathBuf,
    /// Make it the active model, if it passes its trial
    #[arg(long)]
    pub activate: bool,
    /// Tell the daemon to take it, with systemctl
    #[arg(long, requires = "activate")]
    pub reload: bool,
    /// Take a lower counter than that of a model that was active already; for root
    #[arg(long)]
    pub allow_downgrade: bool,
    /// Where the models are.
    #[command(flatten)]
    pub at: StoreArgs,
}

/// `slmd model verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The model's name, or its slot; left out: all
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Where the models are.
    #[command(flatten)]
    pub at: StoreArgs,
}

/// `slmd model activate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The trial runs in a process of its own, with the configuration in force: the model must load, fit
the budget, give its golden answers, and keep latency.max-step-ms and the bounds of its own manifest.
If it does not, the active model stays, and `slmd model list` says why.")]
pub struct ActivateArgs {
    /// The model's name, or its slot; left out: the one that is not active
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Tell the daemon to take it, with systemctl
    #[arg(long)]
    pub reload: bool,
    /// Take a lower counter than that of a model that was active already; for root
    #[arg(long)]
    pub allow_downgrade: bool,
    /// Where the models are.
    #[command(flatten)]
    pub at: StoreArgs,
}

/// `slmd model rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// Tell the daemon to take it, with systemctl
    #[arg(long)]
    pub reload: bool,
    /// Where the models are.
    #[command(flatten)]
    pub at: StoreArgs,
}

/// `slmd model remove`.
#[derive(Debug, Clone, Args)]
pub struct RemoveArgs {
    /// The model's name, or its slot
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where the models are.
    #[command(flatten)]
    pub at: StoreArgs,
}

/// `slmd model trial`.
#[derive(Debug, Clone, Args)]
pub struct TrialArgs {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The configuration
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ModelCommand {
    /// Whether JSON is asked for.
    pub const fn wants_json(&self) -> bool {
        match self {
            Self::Install(args) => args.at.json,
            Self::List(at) => at.json,
            Self::Verify(args) => args.at.json,
            Self::Activate(args) => args.at.json,
            Self::Rollback(args) => args.at.json,
            Self::Remove(args) => args.at.json,
            // Always JSON, its own.
            Self::Trial(_) => false,
        }
    }
}
