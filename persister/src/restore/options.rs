//! What somebody may ask of a restore.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_journal::{Revision, Timestamp};

use crate::cluster::control::Id;

/// Which state is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest.
    #[default]
    Newest,
    /// The one right after this revision.
    Revision(Revision),
    /// The one before the first change that was observed later than this.
    Time(Timestamp),
}

/// What is to be restored, and how.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Which state.
    pub at: At,
    /// Only the keys that these prefixes select, as the engine reads a prefix; none: all keys.
    pub prefixes: Vec<String>,
    /// Whether to write into a cluster that comes back from files, too, with what is lost by that.
    pub by_writes: bool,
    /// Whether it may be written into a cluster that has keys.
    pub merge: bool,
    /// Whether a merge also deletes the keys that the state does not have, among those that are
    /// selected.
    pub deletes: bool,
    /// A merge leaves keys alone that were written after this revision of the cluster: that of a
    /// dry run, which somebody has read. `None`: after the look that the merge itself begins with.
    pub seen: Option<Revision>,
    /// Whether to go on when that lets go of changes.
    pub accept_loss: bool,
    /// How many keys are in flight; `None`: as many as keep their order there.
    pub in_flight: Option<usize>,
    /// The longest value that the cluster takes; `None`: what is known of its implementation.
    pub max_value_bytes: Option<usize>,
    /// Whether to complete a restore that another journal began. Only if its process is dead: one
    /// that lives goes on writing.
    pub take_over: bool,
    /// Whether a cluster that has a name of its own is left alone even if it has no keys.
    pub nameless_only: bool,
    /// The number of the persister that restores, if it is one.
    pub id: Option<Id>,
    /// The persisters whose bids are waited for.
    pub with: BTreeSet<Id>,
    /// How long bids of others are waited for; `None`: until all of `with` have bid.
    pub wait_for_others: Option<Duration>,
}
