//! The buckets of etcd's store, and what a bucket's element holds.

use super::{array_at, u64_at};

/// Every change, by position.
pub(crate) const KEY: &[u8] = b"key";
/// Every lease, by id.
pub(crate) const LEASE: &[u8] = b"lease";
/// The store's own few values.
pub(crate) const META: &[u8] = b"meta";

/// Every bucket that etcd expects, in order.
pub(crate) const ALL: [&[u8]; 10] = [
    b"alarm",
    b"auth",
    b"authRoles",
    b"authUsers",
    b"cluster",
    KEY,
    LEASE,
    b"members",
    b"members_removed",
    META,
];

/// In `meta`: the newest raft entry that is applied, 8 bytes big-endian.
pub(crate) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// In `meta`: the revision up to which compaction is done, as a position.
pub(crate) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
/// In `meta`: the revision up to which compaction was asked for, as a position.
pub(crate) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
/// In `meta`: the raft term of the newest entry that is applied, 8 bytes big-endian.
pub(crate) const TERM: &[u8] = b"term";

/// A bucket's element begins with its root page and a sequence that etcd does not use. Root page 0
/// says that the bucket's only page follows inline.
pub(crate) const HEADER_BYTES: usize = 16;

pub(crate) fn encode_header(root: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&root.to_le_bytes());
    bytes
}

/// The root page; `None` if the bytes are too few.
pub(crate) fn decode_root(value: &[u8]) -> Option<u64> {
    (value.len() >= HEADER_BYTES).then(|| u64_at(value, 0))
}

/// A big-endian integer of the buckets `meta` and `lease`.
pub(crate) fn decode_u64(value: &[u8]) -> Option<u64> {
    (value.len() == 8).then(|| u64::from_be_bytes(array_at(value, 0)))
}
