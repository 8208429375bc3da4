//! What a restore came to.

use std::time::Duration;

use bytes::Bytes;
use cairn_journal::Revision;

use crate::identity::lineage::Identity;
use crate::restore::digest::Digest;
use crate::restore::forecast::Forecast;
use crate::restore::leases::Leases;
use crate::restore::merge::Merge;
use crate::restore::plan::Reason;

/// What a restore came to.
#[derive(Debug)]
pub enum Restored {
    /// There was nothing to do, for this reason.
    Nothing(Reason),
    /// The restore of another state is under way, or was interrupted: look again.
    Wait(Identity),
    /// The state is back.
    Done(Summary),
    /// It was written into a cluster that has keys.
    Merged(Merge, Summary),
}

/// A key that could not keep its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shifted {
    /// The key.
    pub path: Bytes,
    /// The revision that it had.
    pub before: Revision,
    /// The revision that it has.
    pub now: Revision,
}

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Count and hash of the keys, the same in journal and cluster.
    pub digest: Digest,
    /// The revision of the state.
    pub at: Revision,
    /// The journal's newest revision.
    pub newest: Revision,
    /// The cluster's, afterwards.
    pub counter: Revision,
    /// The cluster's identity, afterwards.
    pub identity: Identity,
    /// How many keys were written; the others were there already.
    pub written: u64,
    /// The keys that could not keep their revision.
    pub shifted: Vec<Shifted>,
    /// The first revision that was not the one that was meant: keys went one at a time from there.
    pub surprise: Option<Revision>,
    /// The leases that came back, and keys that lost theirs.
    pub leases: Leases,
    /// What the writes were said to take, where something else would have brought back more.
    pub forecast: Option<Forecast>,
    /// How long the writing took.
    pub took: Duration,
}
