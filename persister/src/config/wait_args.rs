//! The flags of `persister wait`.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;

use crate::host_port::HostPort;

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

    /// Ask the persisters themselves, at their --listen, in the order of --persist
    ///
    /// For persisters with --mirror none: nothing in their cluster tells how far they are.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub status: Vec<HostPort>,

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
