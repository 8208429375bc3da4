//! `doozer COMMAND`: a command-line client of a cluster.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use cairn_tools::commands::exit;
use cairn_tools::doozer::{failure, run};

#[tokio::main]
async fn main() -> ExitCode {
    match exit::parse(failure::FAILED) {
        Ok(args) => run::run(&args).await,
        Err(code) => code,
    }
}
