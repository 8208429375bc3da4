//! What a snapshot holds, as plain data: records of changes at their revisions, and leases.

use std::fmt;

use bytes::Bytes;

/// Where a change stands in the history: revisions ascend, and within a revision the numbers of its
/// changes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The revision; an empty cluster stands at 1, its first change makes 2.
    pub revision: i64,
    /// The number of the change within its revision, from 0.
    pub sub: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.sub)
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the history; for a put also the key's `mod_revision`.
    pub at: Position,
    /// What it did.
    pub change: Change,
}

/// What a record did to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set it.
    Put(Put),
    /// Removed it.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Changed nothing: `etcdutl snapshot restore --bump-revision` leaves such a record to raise
    /// the revision. A writer refuses it; the revision that a writer is given as compacted does the
    /// same.
    Bump,
}

/// A key as a put left it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key, never empty.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision that created the key.
    pub create_revision: i64,
    /// 1 at its creation, one more with every put.
    pub version: i64,
    /// The lease that it is attached to; 0 for none.
    pub lease: i64,
}

/// A lease. The keys that are attached to it say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: i64,
    /// The granted time to live, in seconds. A member that starts gives all of it again.
    pub ttl: i64,
    /// The time to live that was left at the last checkpoint of leases, in seconds; 0 where etcd
    /// makes none (`--experimental-enable-lease-checkpoint`).
    pub remaining_ttl: i64,
}

impl Record {
    /// A put at a revision.
    pub fn put(revision: i64, sub: i64, put: Put) -> Self {
        Self {
            at: Position { revision, sub },
            change: Change::Put(put),
        }
    }

    /// A delete at a revision.
    pub fn delete(revision: i64, sub: i64, key: impl Into<Bytes>) -> Self {
        Self {
            at: Position { revision, sub },
            change: Change::Delete { key: key.into() },
        }
    }

    /// The key that it changed; empty for a bump.
    pub fn key(&self) -> &[u8] {
        match &self.change {
            Change::Put(put) => &put.key,
            Change::Delete { key } => key,
            Change::Bump => &[],
        }
    }
}
