//! What somebody may ask of a restore.

use std::time::Duration;

use cairn_journal::{Revision, Timestamp};

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
    /// Whether it may be written into a cluster that has keys.
    pub merge: bool,
    /// Whether to go on when that lets go of changes.
    pub accept_loss: bool,
    /// How many keys are in flight; `None`: as many as keep their order there.
    pub in_flight: Option<usize>,
    /// The longest value that the cluster takes; `None`: what is known of its implementation.
    pub max_value_bytes: Option<usize>,
    /// How long persisters that have more are waited for.
    pub wait_for_others: Duration,
}
