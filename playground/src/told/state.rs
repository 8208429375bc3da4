//! What the page shows, as one value: everything that can be seen at a moment.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::told::feed::Tone;

/// A sentence for each command that cannot be done now; `None` for one that can.
pub type Can = BTreeMap<&'static str, Option<String>>;

/// What a person would type, by command.
pub type Commands = BTreeMap<&'static str, String>;

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// What does not change.
    pub run: About,
    /// All of it in one sentence.
    pub story: Story,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The persisters.
    pub persisters: Vec<Persister>,
    /// What all of the nodes hold.
    pub cluster: Cluster,
    /// What can be done to everything.
    pub can: Can,
    /// What is being done to everything.
    pub busy: Option<&'static str>,
    /// How a person would do it.
    pub commands: Commands,
    /// The load generator.
    pub load: Load,
    /// How often writers were told what.
    pub writes: Writes,
    /// By second.
    pub latency: Vec<Second>,
    /// What the last restore has shown.
    pub proof: Option<Proof>,
    /// How much past there is.
    pub history: History,
}

/// What a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct About {
    /// Cairn's version.
    pub version: &'static str,
    /// `doozer-lite` or `etcd`.
    pub engine: &'static str,
    /// The engine's version, if it is another program's.
    pub engine_version: Option<String>,
    /// Whether its disks are memory.
    pub in_memory: bool,
    /// Where everything is.
    pub directory: String,
    /// Where clients find the cluster.
    pub uri: String,
    /// A command that writes there.
    pub client_command: String,
    /// The drill that is watched.
    pub drill: Option<String>,
    /// A program that is not there, and how to install it.
    pub missing: Option<String>,
}

/// The line above everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    /// How it is meant.
    pub tone: Tone,
    /// One or two sentences.
    pub says: String,
}

/// What a node or persister does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Doing {
    /// It runs, and does not serve yet.
    Starting,
    /// A node that serves.
    Serving,
    /// A node that leads.
    Leader,
    /// A node that follows a leader.
    Follower,
    /// A node that joins with an empty disk.
    Rejoining,
    /// A persister that has everything on disk.
    Following,
    /// A persister that is behind.
    Behind,
    /// Stopped by SIGSTOP.
    Paused,
    /// No process.
    Down,
    /// No process, and no disk.
    Wiped,
    /// The keys are being brought back.
    Restoring,
    /// A persister that has ended by itself.
    Ended,
}

impl Doing {
    /// Whether it does its work.
    pub(crate) fn is_well(self) -> bool {
        matches!(
            self,
            Self::Serving | Self::Leader | Self::Follower | Self::Following
        )
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// `n1`.
    pub id: String,
    /// What it does.
    pub state: Doing,
    /// Why, where that is not plain.
    pub says: Option<String>,
    /// The revision that it has reached.
    pub revision: Option<i64>,
    /// How many keys it has.
    pub keys: Option<u64>,
    /// Their hash.
    pub hash: Option<String>,
    /// Where clients reach it.
    pub address: String,
    /// Its process.
    pub pid: Option<u32>,
    /// What is being done to it.
    pub busy: Option<&'static str>,
    /// What can be done to it.
    pub can: Can,
    /// How a person would do that.
    pub commands: Commands,
}

/// A persister.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Persister {
    /// `p1`.
    pub id: String,
    /// What it does.
    pub state: Doing,
    /// Why, where that is not plain.
    pub says: Option<String>,
    /// Everything up to this revision survives the loss of all nodes.
    pub on_disk_up_to: Option<i64>,
    /// How many revisions it still has to journal.
    pub lag_revisions: Option<i64>,
    /// How long the oldest of them has waited, in seconds.
    pub lag_seconds: Option<f64>,
    /// How large its journal is.
    pub journal_bytes: Option<u64>,
    /// How long its commits take of late, in milliseconds.
    pub fsync_ms: Option<f64>,
    /// Where its health is told.
    pub address: String,
    /// Its process.
    pub pid: Option<u32>,
    /// What is being done to it.
    pub busy: Option<&'static str>,
    /// What can be done to it.
    pub can: Can,
    /// How a person would do that.
    pub commands: Commands,
}

/// What all nodes hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cluster {
    /// How many keys.
    pub keys: Option<u64>,
    /// Their hash.
    pub hash: Option<String>,
    /// The revision.
    pub revision: Option<i64>,
    /// Of etcd: the last time that the members said the same of their history.
    pub agreed: Option<Agreed>,
    /// Whether enough nodes live to accept writes.
    pub majority: bool,
}

/// What members of etcd said together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Agreed {
    /// What they said.
    #[serde(flatten)]
    pub said: HashKv,
    /// How many they were.
    pub members: usize,
}

/// HashKV: what a member of etcd says of its history, every revision of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// The last revision that is in it.
    pub revision: i64,
    /// The compacted revision, up to which history is as good as gone; negative: never compacted.
    pub compacted: i64,
}

/// The load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Writes a second.
    pub rate: u32,
    /// When it ends by itself, in unix milliseconds.
    pub until: Option<u64>,
}

/// How often writers were told what, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Writes {
    /// On as many disks as were asked for.
    pub durable: u64,
    /// In effect, not confirmed.
    pub applied: u64,
    /// Not done.
    pub refused: u64,
    /// Nobody can tell.
    pub unknown: u64,
    /// Under way.
    pub in_flight: u64,
}

/// The writes that ended within a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Its beginning, in unix milliseconds.
    pub t: u64,
    /// On as many disks as were asked for.
    pub durable: u64,
    /// In effect, not confirmed.
    pub applied: u64,
    /// Not done.
    pub refused: u64,
    /// Nobody can tell.
    pub unknown: u64,
    /// Half of them took at most so many milliseconds.
    pub p50: Option<f64>,
    /// 99 of 100 took at most this.
    pub p99: Option<f64>,
    /// Whether something was down.
    pub down: bool,
}

/// What a restore, or a drill, has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    /// What stands above the two columns that are compared.
    pub heads: [String; 2],
    /// By row.
    pub rows: Vec<Row>,
    /// Whether everything is as it was, and as writers were told.
    pub equal: bool,
    /// In a sentence.
    pub says: String,
}

/// A row of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is compared.
    pub what: String,
    /// Before the loss.
    pub before: String,
    /// After the restore.
    pub after: String,
    /// `equal`, `none lost`, ...
    pub verdict: String,
    /// Whether that is as it must be; none: nobody can tell.
    pub ok: Option<bool>,
}

/// How much past there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// How many changes are journaled.
    pub count: u64,
    /// When the first was, in unix milliseconds.
    pub first_time: Option<u64>,
    /// When the last was.
    pub last_time: Option<u64>,
}
