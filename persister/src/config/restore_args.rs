//! The flags of `persister restore`.

use std::path::PathBuf;

use cairn_journal::Timestamp;
use clap::Args;

use crate::restore::snapshot_file::request::{Counter, Member};

/// What to restore.
#[derive(Clone, Debug, Default, Args)]
pub struct RestoreArgs {
    /// The state at this revision [default: the newest]
    #[arg(
        long,
        value_name = "R",
        conflicts_with = "at_time",
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub at_revision: Option<i64>,

    /// The state at this time: 2026-01-31T10:00:00Z or "10 minutes ago"
    ///
    /// That is the state before the first change that the persister observed later. Other forms:
    /// 2026-01-31 11:00:00.250+01:00, 2026-01-31 (UTC where no offset is given), @1769853600 (Unix
    /// seconds).
    #[arg(long, value_name = "TIME")]
    pub at_time: Option<Timestamp>,

    /// Only this key and those below it; may be given several times
    #[arg(long, value_name = "PATH")]
    pub prefix: Vec<String>,

    /// Write into a cluster that has keys: none is deleted, those that differ are overwritten and
    /// listed
    #[arg(long)]
    pub merge: bool,

    /// With --merge: also delete the keys that the state does not have; with --prefix, of those
    /// that it selects
    ///
    /// So an older state comes back as the newest one, under new revisions.
    #[arg(long, requires = "merge")]
    pub delete: bool,

    /// With --merge: leave alone what was written after this revision of the cluster, and list it;
    /// a dry run tells the revision
    #[arg(
        long,
        value_name = "R",
        requires = "merge",
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub seen: Option<i64>,

    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// A snapshot file of etcd instead.
    #[command(flatten)]
    pub file: FileArgs,
}

/// A snapshot file of etcd, and members made from it.
#[derive(Clone, Debug, Default, Args)]
pub struct FileArgs {
    /// Make this snapshot file of etcd instead, from the journal alone
    ///
    /// Keys come back with create revisions, versions and leases, at the revisions that they had.
    /// etcd's own `snapshot restore` makes members from it. Users and roles are not in it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prefix", "merge"])]
    pub to_snapshot: Option<PathBuf>,

    /// Make the members of a new cluster of etcd below this directory, each by etcd's own tool
    ///
    /// Without --to-snapshot the file is DIR/snapshot.db. Prints how to start them.
    #[arg(long, value_name = "DIR", requires = "member", conflicts_with_all = ["prefix", "merge"])]
    pub into: Option<PathBuf>,

    /// A member to make, for instance m0=http://10.0.0.1:2380; once for each
    #[arg(long, value_name = "NAME=PEER-URL", requires = "into")]
    pub member: Vec<Member>,

    /// Nothing was written after the journal's end: go on right there, so that watchers resume
    ///
    /// Otherwise the counter goes on 1,000,000,000 further, and watchers are told to list again: a
    /// revision that a client has seen must not get another meaning.
    #[arg(long, conflicts_with = "rehearsal")]
    pub seamless: bool,

    /// Make a cluster to try things out in: no persister of the lost one follows it
    ///
    /// Only here an older state has a lower revision; otherwise it comes back as new revisions
    /// after the newest.
    #[arg(long)]
    pub rehearsal: bool,

    /// The oldest revision that can be read and watched from [default: 1GiB of history]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(i64).range(0..))]
    pub history_from: Option<i64>,
}

impl FileArgs {
    /// Whether a file is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.to_snapshot.is_some() || self.into.is_some()
    }

    /// Where the counter goes on.
    pub(super) fn counter(&self) -> Counter {
        if self.seamless {
            Counter::Seamless
        } else if self.rehearsal {
            Counter::Rehearsal
        } else {
            Counter::Jump
        }
    }
}
