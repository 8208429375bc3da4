//! `diffjournal A B`: prints where two journals differ.

use std::process::ExitCode;

use cairn_tools::commands::{diffjournal, exit};

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => diffjournal::run(&args),
        Err(code) => code,
    }
}
