//! `cairn __persister ARGS`: the persister, with its own command line.

use std::ffi::OsString;

use cairn_persister::config::{CommandLine, Config, Settings};

/// The hidden subcommand.
pub const PERSISTER: &str = "__persister";

/// Persists until a signal asks for the end. Gives the exit status, which is the persister's own.
///
/// # Errors
/// Wrong usage.
pub async fn persister(args: Vec<OsString>) -> anyhow::Result<u8> {
    let line = CommandLine::read([OsString::from("persister")].into_iter().chain(args))?;
    let config = Config::new(line, Settings::default())?;
    Ok(cairn_persister::process::persist(config).await)
}
