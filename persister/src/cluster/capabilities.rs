//! What engines differ in, as values: nobody above the seam asks which engine it has.

use std::time::Duration;

/// What an engine can do, known without asking a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How many keys one revision may change.
    pub writes_per_revision: usize,
    /// What a write can be guarded by besides its own key.
    pub guard: Guard,
    /// How the holder of an id shows that it lives.
    pub liveness: Liveness,
    /// Whether a cluster may come back with an older revision and its old identity: from a backup
    /// of its own, or after a crash without fsync. Where it may, a session's
    /// [`revision`](crate::cluster::session::Session::revision) is at least that of every write
    /// that the cluster acknowledged, never that of a node that lags.
    pub may_roll_back: bool,
    /// Whether control writes are told with all others, so that the journal has every revision as
    /// the cluster made it. They are flagged, and never the reason for a commit or a publication.
    pub tells_control: bool,
    /// Whether keys stand under leases, whose times are told: those that changes name, and all
    /// others when they are [asked for](crate::cluster::session::Session::leases).
    pub tells_leases: bool,
    /// Whether a mirror of paths is worth its writes unless somebody asks for it.
    pub mirrors_paths: bool,
    /// Whether nobody but this process talks to the cluster before it is restored, so that a whole
    /// state can be [loaded](crate::cluster::session::Session::load) at once.
    pub loads: bool,
    /// Whether its calls return at once, and its clients' writes wait while a follower is behind:
    /// nothing is forgotten that was not taken, so the follower may wait for the disk.
    pub holds_back: bool,
    /// How a cluster that was lost comes back.
    pub restores: Restores,
    /// Whether keys can stand under leases.
    pub leases: bool,
}

/// How a cluster that was lost comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restores {
    /// By writes into a fresh one. All of it comes back so.
    Writes,
    /// From files that are made before its members start. Writes into a fresh one bring less of it
    /// back, so they must be asked for.
    Files(WriteRates),
}

/// How fast writes bring a cluster back, about, and what is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRates {
    /// Revisions with keys, a second.
    pub writes: u32,
    /// Revisions without keys, a second.
    pub fillers: u32,
    /// How many revisions without keys are filled at most, to take the counter where it was.
    pub most_fillers: i64,
}

/// What a write can be guarded by besides the expectation of its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// By nothing: a write of a session that was overtaken may still be applied.
    Key,
    /// By the identity of the cluster, which is compared in the same revision.
    Identity,
}

/// How the holder of an id shows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// By writing its owner key again.
    Rewritten {
        /// How often.
        every: Duration,
        /// How long the key must stay untouched before its holder counts as dead.
        stale_after: Duration,
    },
    /// By its session: the engine deletes the owner key once the session that wrote it has ended.
    Leased {
        /// How often the session shows that it lives.
        every: Duration,
        /// How long after its end the key may still be there.
        expires_after: Duration,
    },
}

/// What a cluster takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest value, in bytes, unless somebody knows that this cluster takes more.
    pub value_bytes: usize,
    /// The longest value that can be at all.
    pub most_value_bytes: usize,
    /// The longest key, in bytes, where one has a bound of its own.
    pub key_bytes: usize,
    /// The names that a key has at most, between slashes.
    pub key_names: usize,
    /// The bytes of keys and values of one revision, all in all.
    pub revision_bytes: usize,
    /// Whether the writes of one session are applied in the order in which they were first polled,
    /// also while several are under way.
    pub in_order: bool,
}
