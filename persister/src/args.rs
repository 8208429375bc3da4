//! The command line: parsed into [`Args`], checked into a [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;

use cairn_client::Uri;
use clap::{ArgAction, Parser, ValueEnum};

use crate::cluster::Id;
use crate::pipeline::Mirror;

/// Where a cluster is looked for unless told otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8046";

/// Journals every change of a cluster, and says inside the cluster what is on disk.
///
/// The persister is an ordinary client of the cluster. It watches every change, appends it to a
/// checksummed journal, fsyncs, and then writes into the cluster
///
///   /ctl/persistence/ID/PATH            the revision of PATH that is on disk
///   /ctl/persistence/ID/ctl/watermark   the revision up to which everything is on disk
///
/// where anybody can wait for it. Run as many as you like, each with an ID and a journal of its own.
#[derive(Debug, Parser)]
#[command(
    name = "persister",
    version,
    after_help = "Examples:\n  \
        persister --id 1 --embedded              a durable single-node cluster in one process\n  \
        persister --id 2 -a doozer:?ca=10.0.0.1:8046 -j /var/lib/cairn/2\n  \
        persister --id 1 -r                      bring a lost cluster back, then go on as usual\n  \
        persister --id 1 -f                      repair a damaged journal, then go on as usual\n\n\
        Exit status: 0 ended in good order, 1 defect, 2 usage, 10 journal damaged (-f), 11 journal in\n\
        use, 12 journal unusable, 13 write failed, 20 not the cluster that the journal followed,\n\
        21 id held by another persister, 22 cluster unusable, 24 restore differs from the journal."
)]
pub struct Args {
    /// The number of this persister within its cluster
    #[arg(long, value_name = "N", env = "CAIRN_ID", value_parser = clap::value_parser!(u32).range(1..))]
    id: Id,

    /// The cluster to follow, doozer:?ca=HOST:PORT[&ca=HOST:PORT...][&sk=SECRET] [default: doozer:?ca=127.0.0.1:8046]
    #[arg(
        short = 'a',
        long = "cluster",
        value_name = "URI",
        env = "DOOZER_URI",
        hide_env_values = true,
        conflicts_with = "embedded"
    )]
    cluster: Option<Uri>,

    /// The directory of the journal; created if need be [default: journal-ID]
    #[arg(short = 'j', long, value_name = "DIR", env = "CAIRN_JOURNAL")]
    journal: Option<PathBuf>,

    /// First restore the journal's state, if the cluster is empty
    ///
    /// Does nothing, and says so, where the cluster has keys or is alive, so it can stay in a unit file.
    #[arg(short = 'r', long)]
    restore: bool,

    /// First repair the journal, if it is damaged
    ///
    /// Keeps every record that verifies, before and after the damage, says what is lost, and keeps
    /// the damaged file beside it as .bad.
    #[arg(short = 'f', long)]
    repair: bool,

    /// Say more; twice: everything
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,

    /// Run a single-node cluster in this process too, and restore it from the journal at every start
    #[arg(long)]
    embedded: bool,

    /// Where the embedded cluster listens
    #[arg(short = 'l', long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS, requires = "embedded")]
    embedded_listen: SocketAddr,

    /// What to write into the cluster beside the watermark
    #[arg(long, value_enum, default_value = "paths", env = "CAIRN_MIRROR")]
    mirror: MirrorArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MirrorArg {
    /// An entry for every path, for programs that wait for single paths
    Paths,
    /// Nothing: the watermark is all, and half the writes
    Watermark,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of this persister.
    pub id: Id,
    /// Where the cluster is.
    pub target: Target,
    /// Where the journal is.
    pub journal: PathBuf,
    /// Whether to restore an empty cluster first.
    pub restore: bool,
    /// Whether to repair a damaged journal first.
    pub repair: bool,
    /// What to write into the cluster.
    pub mirror: Mirror,
}

/// Where the cluster is.
#[derive(Clone, Debug)]
pub enum Target {
    /// Somewhere else.
    Remote(Uri),
    /// In this process, listening here.
    Embedded(SocketAddr),
}

impl Args {
    /// How much to log.
    #[must_use]
    pub fn log_level(&self) -> tracing::Level {
        match self.verbose {
            0 => tracing::Level::INFO,
            1 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        }
    }

    /// What was asked for, with every default in place.
    #[must_use]
    pub fn into_config(self) -> Config {
        let target = if self.embedded {
            Target::Embedded(self.embedded_listen)
        } else {
            Target::Remote(self.cluster.unwrap_or_else(|| {
                Uri::from_address(DEFAULT_ADDRESS).expect("the default address is one")
            }))
        };
        Config {
            id: self.id,
            target,
            journal: self
                .journal
                .unwrap_or_else(|| PathBuf::from(format!("journal-{}", self.id))),
            // An embedded cluster is empty at every start: its durable state is the journal.
            restore: self.restore || self.embedded,
            repair: self.repair,
            mirror: match self.mirror {
                MirrorArg::Paths => Mirror::Paths,
                MirrorArg::Watermark => Mirror::Watermark,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn an_embedded_cluster_is_always_restored() {
        let args = Args::try_parse_from(["persister", "--id", "3", "--embedded"]).expect("valid");
        let config = args.into_config();
        assert!(config.restore);
        assert_eq!(config.journal, PathBuf::from("journal-3"));
        assert!(matches!(config.target, Target::Embedded(_)));
    }

    #[test]
    fn contradictions_are_refused() {
        for wrong in [
            &["persister"][..],
            &["persister", "--id", "0"],
            &["persister", "--id", "1", "-l", "127.0.0.1:1"],
            &[
                "persister",
                "--id",
                "1",
                "--embedded",
                "-a",
                "doozer:?ca=127.0.0.1:1",
            ],
            &["persister", "--id", "1", "-a", "http://example"],
        ] {
            assert!(Args::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
