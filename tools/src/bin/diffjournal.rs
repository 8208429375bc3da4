//! `diffjournal A B`: prints where two journals differ.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use cairn_tools::commands::{diffjournal, exit};

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => diffjournal::run(&args),
        Err(code) => code,
    }
}
