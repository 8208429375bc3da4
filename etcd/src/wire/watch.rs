//! Watches: changes as they come.

use bytes::Bytes;

use crate::wire::kv::{KeyValue, ResponseHeader, prefix_range};

/// Where watches are.
pub(crate) const PATH: &str = "/etcdserverpb.Watch/Watch";

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// It was written.
    Put = 0,
    /// It was deleted, or its lease ended.
    Delete = 1,
}

/// A change of one key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Event {
    /// An [`EventType`].
    #[prost(enumeration = "EventType", tag = "1")]
    pub r#type: i32,
    /// The key after the change.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    /// The key before the change, if asked for.
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

/// What a client says on a watch's stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchRequest {
    /// What it says.
    #[prost(oneof = "watch_request::Request", tags = "1")]
    pub request: Option<watch_request::Request>,
}

/// What a client may say on a watch's stream. A watch is ended by ending its stream. Asking for
/// progress is left out: up to 3.4.24 and 3.5.7, the answers run ahead of the events.
pub mod watch_request {
    use super::WatchCreateRequest;

    /// What it says.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Request {
        /// Begin.
        #[prost(message, tag = "1")]
        Create(WatchCreateRequest),
    }
}

/// Begins a watch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchCreateRequest {
    /// The key, or the first one.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`](crate::wire::RangeRequest::range_end).
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// The first revision to tell, inclusive; 0 means the next one.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Say once in a while where the member stands, if nothing happens.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// Event types to leave out: 0 puts, 1 deletes.
    #[prost(int32, repeated, tag = "5")]
    pub filters: Vec<i32>,
    /// Tell what was there before. Slow for large deletes.
    #[prost(bool, tag = "6")]
    pub prev_kv: bool,
    /// The watch's number on its stream; 0 lets the server choose.
    #[prost(int64, tag = "7")]
    pub watch_id: i64,
    /// Cut large answers.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

impl WatchCreateRequest {
    /// Everything that happens to one key from `start_revision` on.
    #[must_use]
    pub fn key(key: impl Into<Bytes>, start_revision: i64) -> Self {
        Self {
            key: key.into(),
            start_revision,
            ..Self::default()
        }
    }

    /// Everything that happens to keys that begin with `prefix` from `start_revision` on.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>, start_revision: i64) -> Self {
        let (key, range_end) = prefix_range(prefix.into());
        Self {
            key,
            range_end,
            start_revision,
            ..Self::default()
        }
    }

    /// Everything that happens from `start_revision` on.
    #[must_use]
    pub fn all(start_revision: i64) -> Self {
        Self::prefix(Bytes::new(), start_revision)
    }
}

/// What a server says on a watch's stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchResponse {
    /// Its revision is not below those of the events; 0 if the watch was compacted.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Of which watch.
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    /// The watch begins.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// The watch ends.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// If not 0: it ends because everything before this revision is forgotten.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it ends; empty if it was compacted.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More of the same answer follows.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// What happened, in the order of revisions, and within one in the order of operations.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}
