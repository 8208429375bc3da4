//! `cairn __persister ARGS`: the persister, with its own command line.

use std::ffi::OsString;

use cairn_persister::config::{Command, CommandLine, Config, Settings, file_request};
use cairn_persister::restore::to_snapshot;
use tokio_util::sync::CancellationToken;

use crate::output;

/// The hidden subcommand.
pub const PERSISTER: &str = "__persister";

/// Persists until a signal asks for the end; or, with `restore --to-snapshot`, makes a snapshot and
/// prints its report as JSON. Gives the exit status, which is the persister's own.
///
/// # Errors
/// Wrong usage, and a snapshot that cannot be made.
pub async fn persister(args: Vec<OsString>) -> anyhow::Result<u8> {
    let line = CommandLine::read([OsString::from("persister")].into_iter().chain(args))?;
    let file = Settings::default();
    if let Some(Command::Restore(args)) = &line.command
        && let Some(request) = file_request(&line, args, &file)?
    {
        let report = to_snapshot(&request, &CancellationToken::new()).await?;
        output::print(serde_json::to_string(&report)? + "\n")?;
        return Ok(0);
    }
    let config = Config::new(line, file)?;
    Ok(cairn_persister::process::persist(config).await)
}
