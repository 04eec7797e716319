//! `slmd completions` and the hidden `slmd man`: what shells and `man` know of the command line, made
//! from its definition. Knows nothing of what the commands do.

use super::args::Cli;
use super::exit::{Failure, NO_INPUT};
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// To /usr/share/bash-completion/completions/slmd, or sourced
    Bash,
    /// To a file `_slmd` in a folder of $fpath
    Zsh,
    /// To ~/.config/fish/completions/slmd.fish
    Fish,
}

/// `slmd completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  source <(slmd completions bash)
  slmd completions zsh >~/.zfunc/_slmd
  slmd completions fish >~/.config/fish/completions/slmd.fish

The Debian package installs all three.")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `slmd man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The folder that takes one page a command
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut out = Vec::new();
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut Cli::command(), "slmd", &mut out);
    io::stdout().write_all(&out).map_err(|e| Failure::output(&e))
}

/// Writes the manual pages: `slmd.1`, and `slmd-ask.1` and so on for the commands.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    // `help` would give each command a page of its own for it.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    pages(&command, &args.dir).map_err(|e| {
        Failure::new(NO_INPUT, format!("cannot write to {}: {e}", args.dir.display()))
            .hint("name a folder that exists and is yours")
    })
}

/// The pages of a command and of those below it that are shown.
fn pages(command: &Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        pages(below, dir)?;
    }
    let page = Man::new(command.clone()).manual("slmd");
    let mut text = Vec::new();
    page.render(&mut text)?;
    // What stands below a command's help are examples and paragraphs, set line by line already.
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH NOTES\n.nf\n");
    std::fs::write(dir.join(page.get_filename()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Vec<String> {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
        shown.map(|c| c.get_name().to_owned()).collect()
    }

    #[test]
    fn every_shell_completes_every_command() {
        assert!(commands().len() > 8);
        for shell in
            [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
        {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slmd", &mut out);
            let script = String::from_utf8(out).expect("a script");
            for command in commands() {
                assert!(script.contains(&command), "{shell}: {command}");
            }
        }
    }

    #[test]
    fn each_command_has_a_page_and_hidden_ones_have_none() {
        let dir = tempfile::tempdir().expect("a folder");
        man(&ManArgs { dir: dir.path().to_owned() }).expect("written");
        for command in commands() {
            let page = dir.path().join(format!("slmd-{command}.1"));
            let page = std::fs::read_to_string(page).expect("a page");
            assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{command}");
            assert!(!page.contains("EXTRA"), "{command}");
        }
        assert!(!dir.path().join("slmd-man.1").exists());
        let main = std::fs::read_to_string(dir.path().join("slmd.1")).expect("a page");
        assert!(main.contains("slmd\\-ask(1)"));
        let missing = man(&ManArgs { dir: dir.path().join("no/such") }).expect_err("no folder");
        assert_eq!(missing.code, NO_INPUT);
    }
}
