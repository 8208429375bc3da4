//! `writejournal DIR`: makes a journal from text.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use cairn_tools::commands::{exit, writejournal};

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => writejournal::run(&args),
        Err(code) => code,
    }
}
