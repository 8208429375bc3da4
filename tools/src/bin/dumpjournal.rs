//! `dumpjournal PATH`: prints a journal as text.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use cairn_tools::commands::dumpjournal::run;
use cairn_tools::commands::exit;

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => run::run(&args),
        Err(code) => code,
    }
}
