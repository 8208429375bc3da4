//! `cairn __persister ARGS`: the persister, with its own command line.

use std::ffi::OsString;

use cairn_persister::config::{CommandLine, Config, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The hidden subcommand.
pub const PERSISTER: &str = "__persister";

/// Persists until SIGTERM or SIGINT. Gives the exit status, which is the persister's own.
///
/// # Errors
/// Wrong usage.
pub async fn persister(args: Vec<OsString>) -> anyhow::Result<u8> {
    let line = CommandLine::read([OsString::from("persister")].into_iter().chain(args))?;
    let config = Config::new(line, Settings::default())?;
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        end.cancel();
    });
    match tokio::spawn(cairn_persister::run(config, cancel)).await? {
        Ok(()) => Ok(0),
        Err(error) => {
            eprintln!("persister: {error}");
            Ok(error.exit_status())
        }
    }
}
