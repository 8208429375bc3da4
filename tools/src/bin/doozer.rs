//! `doozer COMMAND`: a command-line client of a cluster.

use std::process::ExitCode;

use cairn_tools::{doozer, exit};

#[tokio::main]
async fn main() -> ExitCode {
    match exit::parse(doozer::FAILED) {
        Ok(args) => doozer::run(&args).await,
        Err(code) => code,
    }
}
