//! `writejournal DIR`: makes a journal from text.

use std::process::ExitCode;

use cairn_tools::commands::{exit, writejournal};

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => writejournal::run(&args),
        Err(code) => code,
    }
}
