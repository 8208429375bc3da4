//! What `persister import` prints: for people, or as one JSON object.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

/// A journal that was made.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImportReport {
    /// `imported`.
    pub outcome: &'static str,
    /// The file.
    pub file: String,
    /// The journal.
    pub journal: String,
    /// C: the oldest state that it has; 0: the beginning of all.
    pub history_from: i64,
    /// R: the newest revision.
    pub newest: i64,
    /// How many keys the newest state has, control keys left out.
    pub keys: u64,
    /// How many bytes their values have.
    pub value_bytes: u64,
    /// The hash of that state, the one that every restore prints.
    pub hash: String,
    /// Leases.
    pub leases: u64,
    /// Records that were written.
    pub records: u64,
    /// The cluster that the file is of, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "state: {} keys, {}, hash {}, at revision {}",
            self.keys,
            ByteSize::b(self.value_bytes),
            self.hash,
            self.newest
        )?;
        let from = self.history_from;
        match from {
            0 => writeln!(f, "history: from its beginning to {}", self.newest)?,
            _ => writeln!(f, "history: from C = {from} to {}", self.newest)?,
        }
        writeln!(f, "leases: {}", self.leases)?;
        match &self.identity {
            Some(identity) => writeln!(f, "identity: {identity}")?,
            None => writeln!(
                f,
                "identity: none. No persister was beside this cluster: the journal can be restored \
                 and read; to follow the cluster with it, begin with `persister --base {}`",
                self.file
            )?,
        }
        writeln!(
            f,
            "journal: {}, {} records, in {:.1} s",
            self.journal, self.records, self.seconds
        )
    }
}
