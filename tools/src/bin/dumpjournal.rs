//! `dumpjournal PATH`: prints a journal as text.

use std::process::ExitCode;

use cairn_tools::commands::dumpjournal::run;
use cairn_tools::commands::exit;

fn main() -> ExitCode {
    match exit::parse(exit::USAGE) {
        Ok(args) => run::run(&args),
        Err(code) => code,
    }
}
