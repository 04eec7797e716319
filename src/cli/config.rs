//! `slmd config`: what is in force, and where each value came from.

use super::exit::Failure;
use super::serve;
use crate::config::Settings;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// `slmd config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands of `slmd config`.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print every value in force, and where it came from
    Show(ConfigShowArgs),
}

/// `slmd config show`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  slmd config show                            what `slmd serve` would use now
  slmd config show --config ./config.toml --json
  SLMD_THREADS=3 slmd config show             the environment wins over the files

Each line is a key, its value and its origin: the default, the board, a file with its line, or a
variable of the environment. docs/configuration.md has all keys.")]
pub struct ConfigShowArgs {
    /// The configuration; left out: /etc/slmd/config.toml, if it exists
    #[arg(long, value_name = "FILE", env = "SLMD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints what is in force.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let ConfigCommand::Show(args) = &args.command;
    let settings = serve::settings(args.config.as_deref(), &[])?;
    let text = match args.json {
        true => format!("{:#}\n", Value::Object(facts(&settings))),
        false => table(&settings),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))
}

/// By key: the value as TOML would have it, and its origin.
pub fn facts(settings: &Settings) -> Map<String, Value> {
    let fact = |value: String, origin: String| json!({ "value": value, "origin": origin });
    let entries = settings.entries().into_iter();
    entries.map(|e| (e.key, fact(e.value, e.origin.to_string()))).collect()
}

fn table(settings: &Settings) -> String {
    let entries = settings.entries();
    let widest = |length: fn(&crate::config::Entry) -> usize| {
        entries.iter().map(length).max().unwrap_or_default()
    };
    // A long list does not push every origin off the screen.
    let (keys, values) = (widest(|e| e.key.len()), widest(|e| e.value.len()).min(40));
    entries.iter().fold(String::new(), |mut text, e| {
        writeln!(text, "{:keys$}  {:values$}  {}", e.key, e.value, e.origin)
            .expect("a String takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_origin() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "threads = 1\n").expect("written");
        let settings = serve::settings(Some(&file), &[]).expect("valid");
        let text = table(&settings);
        let line = text.lines().find(|line| line.starts_with("threads ")).expect("listed");
        assert!(line.ends_with("config.toml:1"), "{line}");
        assert_eq!(line.split_whitespace().nth(1), Some("1"), "{line}");
        assert_eq!(text.lines().count(), settings.entries().len());
        assert_eq!(facts(&settings)["threads"]["value"], "1");
    }
}
