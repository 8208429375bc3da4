//! The flags of `persister wait`.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use cairn_journal::Revision;
use clap::Args;

use crate::config::args::{CommandLine, Settings};
use crate::config::error::ConfigError;
use crate::config::requests::cluster;
use crate::observe::wait::WaitRequest;

/// What to wait for.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Everything up to this revision
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: i64,

    /// On the disks of these persisters
    #[arg(
        long,
        value_name = "N,N,...",
        value_delimiter = ',',
        default_value = "1"
    )]
    pub persist: Vec<NonZeroU32>,

    /// On how many of these disks [default: all]
    #[arg(long, value_name = "K")]
    pub require: Option<usize>,

    /// For how long
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Builds the request of `persister wait`.
///
/// # Errors
/// [`ConfigError`] if more disks are required than there are.
pub fn wait_request(
    line: &CommandLine,
    args: &WaitArgs,
    file: Settings,
) -> Result<WaitRequest, ConfigError> {
    let persisters: BTreeSet<_> = args.persist.iter().map(|id| id.get()).collect();
    let required = args.require.unwrap_or(persisters.len());
    if required == 0 || required > persisters.len() {
        return Err(ConfigError::Required {
            required,
            named: persisters.len(),
        });
    }
    Ok(WaitRequest {
        cluster: cluster(&line.settings.clone().or(file)),
        revision: Revision(args.revision),
        persisters,
        required,
        timeout: args.timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::Command;

    fn request(line: &[&str]) -> Result<WaitRequest, String> {
        let line = [&["persister", "wait"], line].concat();
        let line = CommandLine::read(line).map_err(|error| error.to_string())?;
        let Some(Command::Wait(args)) = &line.command else {
            panic!("it is a wait");
        };
        wait_request(&line, args, Settings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_that_are_named_are_required_unless_a_number_is_said() {
        for (line, persisters, required) in [
            (&["--revision", "7"][..], &[1][..], 1),
            (&["--revision", "7", "--persist", "1,3,3"], &[1, 3], 2),
            (
                &["--revision", "7", "--persist", "1,2,3", "--require", "2"],
                &[1, 2, 3],
                2,
            ),
        ] {
            let request = request(line).expect("valid");
            assert_eq!(
                request.persisters,
                persisters.iter().copied().collect(),
                "{line:?}"
            );
            assert_eq!(request.required, required, "{line:?}");
            assert_eq!(request.timeout, Duration::from_secs(30));
        }
    }

    #[test]
    fn what_cannot_come_is_refused() {
        for (line, says) in [
            (&[][..], "--revision"),
            (&["--revision", "0"], "0 is not in"),
            (&["--revision", "7", "--persist", "0"], "zero"),
            (&["--revision", "7", "--require", "0"], "--require 0"),
            (
                &["--revision", "7", "--persist", "1,1", "--require", "2"],
                "--require 2",
            ),
        ] {
            let said = request(line).expect_err(&line.join(" "));
            assert!(said.contains(says), "{line:?}: {said}");
        }
    }
}
