//! A program that is run to its end: a child like every other, so that it does not outlive us.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::world::process::{Launch, Process, log_tail};

/// How much of its output is taken.
const OUTPUT: u64 = 1 << 20;

/// Runs it, and gives what it printed. What it says beside that is appended to its log.
///
/// # Errors
/// If it cannot be started, does not end in time, or fails: with the end of its log.
pub async fn run(launch: Launch, guard: &Path, limit: Duration) -> Result<String> {
    let command = launch.command_line();
    let launch = Launch {
        pipe_stdout: true,
        ..launch
    };
    let process = Process::start(&launch, guard)?;
    let stdout = process.take_stdout().context("its output is piped")?;
    let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
    let (mut text, mut output) = (String::new(), stdout.take(OUTPUT));
    let (read, status) = tokio::join!(
        tokio::time::timeout(limit, output.read_to_string(&mut text)),
        process.end_within(limit),
    );
    let (status, _) = (status?, read.context("its output does not end")??);
    ensure!(
        status.success(),
        "{command}: {status}; the end of its log:\n{}",
        log_tail(&launch.log)
    );
    Ok(text)
}
