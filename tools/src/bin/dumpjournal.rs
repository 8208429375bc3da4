//! `dumpjournal PATH`: prints a journal as text.

use std::process::ExitCode;

use cairn_tools::{dumpjournal, exit};

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => dumpjournal::run(&args),
        Err(code) => code,
    }
}
