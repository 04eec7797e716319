//! `slmd serve`: settings in force, signals, systemd; the rest is the supervisor's.

use super::args::ServeArgs;
use super::exit::{CONFIG, DATA, Failure, TEMPORARY, UNAVAILABLE};
use super::term::Progress;
use crate::board::Board;
use crate::config::{Config, ConfigError, Environment, Settings};
use crate::journal::JournalError;
use crate::supervisor::{Daemon, MqttError, ServeError, StartError};
use std::path::Path;

/// Runs the daemon until a signal ends it.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let flags = flags(&[
        ("model", args.model.as_deref().map(|m| m.display().to_string())),
        ("engine", args.engine.clone()),
        ("unix.path", args.socket.as_deref().map(|s| s.display().to_string())),
        ("strict-providers", args.strict.then(|| "true".to_owned())),
    ]);
    let file = args.config.clone();
    let read = move || settings(file.as_deref(), &flags);
    let settings = read()?;
    super::log_to_stderr("info");
    let mut progress = Progress::start("starting");
    let daemon = Daemon::start(&settings, &|phase| progress.phase(phase))?;
    progress.end();
    let reread = move || read().map_err(|failure| failure.message);
    Ok(daemon.serve(Box::new(reread))?)
}

/// What is in force with this file, the environment and these flags.
pub fn settings(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Settings, Failure> {
    let environment = Environment::current();
    let config = Config::load(file, &environment, flags)?;
    let board = Board::find(&config.board().value)?;
    Ok(config.settings(&environment, &board.defaults())?)
}

/// The flags that were given, as the configuration takes them.
pub fn flags(given: &[(&'static str, Option<String>)]) -> Vec<(&'static str, String)> {
    given.iter().filter_map(|(key, value)| Some((*key, value.clone()?))).collect()
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIG, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Bundle(_)
            | StartError::Model(_)
            | StartError::SelfTest(_)
            | StartError::Golden(_) => DATA,
            StartError::Load(_) | StartError::Provider { .. } => UNAVAILABLE,
            StartError::Memory(_)
            | StartError::Context { .. }
            | StartError::WatchedTask { .. }
            | StartError::NoModel => CONFIG,
        };
        let failure = Self::new(code, error.to_string());
        match error {
            StartError::Load(_) | StartError::Provider { .. } => {
                failure.hint("`slmd doctor` says which engines are here")
            }
            StartError::Memory(overrun) => failure.hint(overrun.hint()),
            _ => failure,
        }
    }
}

impl From<MqttError> for Failure {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::Config(error) => error.into(),
            MqttError::Tls(error) => Self::new(CONFIG, error.to_string()),
            MqttError::Journal(error @ JournalError::InUse { .. }) => {
                Self::new(UNAVAILABLE, error.to_string())
            }
            MqttError::Journal(error @ JournalError::Newer { .. }) => {
                Self::new(DATA, error.to_string())
            }
            MqttError::Journal(error) => Self::new(TEMPORARY, error.to_string()),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Start(error) => error.into(),
            ServeError::Listen(error) => Self::new(UNAVAILABLE, error.to_string()),
            ServeError::Activation(error) => Self::new(CONFIG, error.to_string()),
            ServeError::Mqtt(error) => error.into(),
            ServeError::Config(error) => error.into(),
            ServeError::Loop(error) => Self::new(TEMPORARY, error.to_string()),
        }
    }
}
