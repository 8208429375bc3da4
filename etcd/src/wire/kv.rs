//! Keys: reading, writing, deleting, and forgetting old revisions.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::wire::call::call;

call!(RangeRequest, RangeResponse, "KV", "Range");
call!(PutRequest, PutResponse, "KV", "Put", |_| true);
call!(
    DeleteRangeRequest,
    DeleteRangeResponse,
    "KV",
    "DeleteRange",
    |_| true
);
call!(
    CompactionRequest,
    CompactionResponse,
    "KV",
    "Compact",
    |_| true
);

/// The first bytes of every answer: which cluster, which member, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResponseHeader {
    /// Follows from the members' peer URLs and the token: a cluster that was wiped and started with
    /// the same flags has the same.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// The member that answered.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The revision of the store when the answer was made.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// The term of the member.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// A key as it is at some revision. In the event of a delete only `key` and `mod_revision` are set.
///
/// Its `Debug` output gives the length of the value only: the value may be a secret, or long.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct KeyValue {
    /// Any bytes; never empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The revision at which the key came into being.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The revision of its newest change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// The number of puts since it came into being.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// The lease to which it is attached, or 0.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.key)
            .field("create_revision", &self.create_revision)
            .field("mod_revision", &self.mod_revision)
            .field("version", &self.version)
            .field("value_len", &self.value.len())
            .field("lease", &self.lease)
            .finish()
    }
}

/// In which order a range is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    /// In the order of keys.
    None = 0,
    /// The lowest first.
    Ascend = 1,
    /// The highest first.
    Descend = 2,
}

/// What a range is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    /// [`KeyValue::key`].
    Key = 0,
    /// [`KeyValue::version`].
    Version = 1,
    /// [`KeyValue::create_revision`].
    Create = 2,
    /// [`KeyValue::mod_revision`].
    Mod = 3,
    /// [`KeyValue::value`].
    Value = 4,
}

/// Reads one key, or all of a range. Linearizable unless `serializable`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeRequest {
    /// The key, or the first one.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Empty: `key` alone. One zero byte: all from `key` on. Else the end, exclusive.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// The most keys to answer; 0 means all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// The revision to read at; 0 means now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// The order.
    #[prost(enumeration = "SortOrder", tag = "5")]
    pub sort_order: i32,
    /// What the order goes by.
    #[prost(enumeration = "SortTarget", tag = "6")]
    pub sort_target: i32,
    /// Answer from the member's own state, which may be behind.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// Leave out the values.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    /// Leave out the keys, too.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Leave out keys that were changed before.
    #[prost(int64, tag = "10")]
    pub min_mod_revision: i64,
    /// Leave out keys that were changed after.
    #[prost(int64, tag = "11")]
    pub max_mod_revision: i64,
    /// Leave out keys that came into being before.
    #[prost(int64, tag = "12")]
    pub min_create_revision: i64,
    /// Leave out keys that came into being after.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

impl RangeRequest {
    /// One key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// All keys that begin with `prefix`; all keys if it is empty.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let (key, range_end) = prefix_range(prefix.into());
        Self {
            key,
            range_end,
            ..Self::default()
        }
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self::prefix(Bytes::new())
    }
}

/// The first key and the end of the range of all keys that begin with `prefix`.
pub(crate) fn prefix_range(prefix: Bytes) -> (Bytes, Bytes) {
    const ZERO: Bytes = Bytes::from_static(&[0]);
    // The end is the prefix whose last byte that can be is one higher.
    let end = match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = BytesMut::with_capacity(last + 1);
            end.put_slice(&prefix[..last]);
            end.put_u8(prefix[last] + 1);
            end.freeze()
        }
        None => ZERO,
    };
    let first = if prefix.is_empty() { ZERO } else { prefix };
    (first, end)
}

/// What a range holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The keys, at most `limit`.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` left some out.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// The number of keys in the range.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// Writes one key.
///
/// Its `Debug` output gives the length of the value only.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct PutRequest {
    /// Any bytes, not empty.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease to attach the key to; 0 detaches it.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Answer what was there before.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the value that is there.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the lease that is there.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

impl PutRequest {
    /// One key and its value, under no lease.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            ..Self::default()
        }
    }
}

impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRequest")
            .field("key", &self.key)
            .field("value_len", &self.value.len())
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// A key was written.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutResponse {
    /// Its revision is that of the write.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What was there before, if asked for.
    #[prost(message, optional, tag = "2")]
    pub prev_kv: Option<KeyValue>,
}

/// Deletes one key, or all of a range.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeRequest {
    /// The key, or the first one.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Answer what was there before.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

impl DeleteRangeRequest {
    /// One key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// All keys that begin with `prefix`; all keys if it is empty.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let (key, range_end) = prefix_range(prefix.into());
        Self {
            key,
            range_end,
            ..Self::default()
        }
    }
}

/// Keys were deleted, or there were none.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeResponse {
    /// Its revision is that of the delete only if `deleted` is not 0.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The number of keys that were deleted. If 0, no revision was consumed.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
    /// What was there before, if asked for.
    #[prost(message, repeated, tag = "3")]
    pub prev_kvs: Vec<KeyValue>,
}

/// Forgets what was superseded before a revision.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CompactionRequest {
    /// The oldest revision that can still be read.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Answer only when it is done on disk.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}

/// Old revisions are forgotten.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CompactionResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_prefix_ends_before_the_next_one() {
        for (prefix, first, end) in [
            (&b"a"[..], &b"a"[..], &b"b"[..]),
            (b"/a/", b"/a/", b"/a0"),
            (b"a\xff", b"a\xff", b"b"),
            (b"\xff\xff", b"\xff\xff", b"\0"),
            (b"", b"\0", b"\0"),
            (b"a\0", b"a\0", b"a\x01"),
        ] {
            let range = prefix_range(Bytes::copy_from_slice(prefix));
            assert_eq!(range, (first.to_vec().into(), end.to_vec().into()));
        }
    }

    #[test]
    fn values_are_not_printed() {
        let put = PutRequest::new("k", "hush");
        let kv = KeyValue {
            key: "k".into(),
            value: "hush".into(),
            ..KeyValue::default()
        };
        let said = format!("{put:?} {kv:?}");
        assert!(!said.contains("hush") && said.contains("4"), "{said}");
    }
}
