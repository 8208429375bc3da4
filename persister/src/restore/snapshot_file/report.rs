//! What `persister restore --to-snapshot` prints: for people, or as one JSON object.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

/// A file that was made, or would be.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileReport {
    /// `written`, or with `--dry-run` `would-write`.
    pub outcome: &'static str,
    /// The file.
    pub file: String,
    /// Its bytes; 0 for one that is not written.
    pub bytes: u64,
    /// How many keys the state has, control keys left out.
    pub keys: u64,
    /// How many bytes their values have.
    pub value_bytes: u64,
    /// The hash of their state, the one that every restore prints.
    pub hash: String,
    /// The revision whose state it is.
    pub state: i64,
    /// R: the newest revision of the journal that is in the file.
    pub newest: i64,
    /// C: reads and watches are answered from here on.
    pub history_from: i64,
    /// The revision at which members start.
    pub revision: i64,
    /// Whether the counter jumped, so that watchers are told to list again.
    pub jumped: bool,
    /// HashKV at `revision`, compacted at `history-from`, as `etcdctl endpoint hashkv` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<u32>,
    /// HashKV at `newest`, compacted at `history-from`: that of the lost cluster, if `unnumbered`
    /// is 0 and `control` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_kv_at_newest: Option<u32>,
    /// Leases in the file.
    pub leases: u64,
    /// Leases whose granted time is not known.
    pub assumed_leases: Vec<String>,
    /// Keys under leases that no member reads back: they stay.
    pub never_expire: u64,
    /// Revisions that were not journaled, and are filled with a key of our own.
    pub filled: u64,
    /// Keys whose number within their revision is not known.
    pub unnumbered: u64,
    /// Whether the journal has the control keys of the lost cluster. One that began with a state
    /// has those that were written since.
    pub control: bool,
    /// Changes that lead back to the older state.
    pub reverted: u64,
    /// Keys that came back without the lease that they had.
    pub detached: u64,
    /// The first of them.
    pub detached_keys: Vec<String>,
    /// The identity of the new cluster.
    pub identity: String,
    /// How to make members from the file, or the tool that made them.
    pub restore: String,
    /// How to start each of them.
    pub start: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl FileReport {
    /// What clients must know of the counter.
    fn counter(&self) -> String {
        if self.jumped {
            format!(
                "the counter goes on at {}: clients may have seen revisions after {} that the \
                 journal does not have. Watchers are told that their revision is compacted, and \
                 list again. If nothing was written after {} (clients, then the persister, \
                 then the members were stopped in good order), --seamless keeps the history \
                 readable, and watchers resume",
                self.history_from + 1,
                self.newest,
                self.newest
            )
        } else {
            format!(
                "watches resume from {} on, as if nothing had happened",
                self.history_from + 1
            )
        }
    }
}

/// What the journal does not have.
const AUTH: &str = "\
users, roles and whether they count are not in it: the cluster STARTS OPEN. Keep it closed: start \
members as below,\nreached from their own machines only, then\n  \
etcdctl user add root && etcdctl user grant-role root root && etcdctl auth enable\n\
add users and roles, and start the members again with the --listen-client-urls that clients use";

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_written = self.outcome == "written";
        writeln!(
            f,
            "state: {} keys, {}, hash {}, at revision {}",
            self.keys,
            ByteSize::b(self.value_bytes),
            self.hash,
            self.state
        )?;
        let history = match self.history_from {
            _ if self.jumped => "none is readable".to_owned(),
            0 => "from its beginning".to_owned(),
            from => format!("from C = {from}"),
        };
        writeln!(
            f,
            "history: {history}, up to R = {}; members start at revision {}{}",
            self.newest,
            self.revision,
            if is_written { "" } else { " or later" }
        )?;
        writeln!(f, "counter: {}", self.counter())?;
        if self.state < self.newest {
            let from = self.state;
            writeln!(
                f,
                "the state at {from} comes back as {} changes after revision {}",
                self.reverted, self.newest
            )?;
        }
        writeln!(
            f,
            "leases: {}, each with its whole time to live",
            self.leases
        )?;
        for (count, what) in [
            (
                self.assumed_leases.len() as u64,
                "leases have a time to live that the journal does not know: they get 60 s",
            ),
            (
                self.never_expire,
                "keys stand under leases with negative ids, which etcd does not read back: they \
                 stay",
            ),
            (
                self.filled,
                "revisions were not journaled, and are filled with a control key",
            ),
            (
                self.unnumbered,
                "keys have a number within their revision that the journal does not know: HashKV \
                 may differ from the lost cluster's",
            ),
            (
                self.detached,
                "keys come back without the lease that they had, which is gone:",
            ),
        ] {
            if count > 0 {
                writeln!(f, "  {count} {what}")?;
            }
        }
        for key in &self.detached_keys {
            writeln!(f, "    {key}")?;
        }
        writeln!(f, "identity: {}", self.identity)?;
        if let Some(hash) = self.hash_kv {
            writeln!(
                f,
                "HashKV: {hash} at revision {}: what `etcdctl endpoint hashkv` says of every \
                 member at its start",
                self.revision
            )?;
        }
        if let Some(hash) = self.hash_kv_at_newest {
            let whose = match (self.unnumbered, self.control) {
                (0, true) => "the lost cluster's",
                (0, false) => "the lost cluster's, but for control keys of before the journal",
                _ => "the lost cluster's, but for numbers that the journal does not know",
            };
            writeln!(
                f,
                "HashKV: {hash} at revision {}, compacted at {}: {whose}",
                self.newest, self.history_from
            )?;
        }
        if is_written {
            writeln!(
                f,
                "file: {}, {}, in {:.1} s",
                self.file,
                ByteSize::b(self.bytes),
                self.seconds
            )?;
        }
        writeln!(f, "auth: {AUTH}")?;
        if self.start.is_empty() {
            return writeln!(f, "members, each:\n  {}", self.restore);
        }
        writeln!(
            f,
            "members {} by {}. Start them:",
            if is_written { "made" } else { "to be made" },
            self.restore
        )?;
        self.start
            .iter()
            .try_for_each(|command| writeln!(f, "  {command}"))
    }
}
