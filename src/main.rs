//! The `slmd` command.

fn main() {}
