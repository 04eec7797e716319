//! The `slmd` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    slmd::cli::main()
}
