//! What a member says about itself, and its whole state.

use bytes::Bytes;

use crate::wire::call::call;
use crate::wire::kv::ResponseHeader;

call!(StatusRequest, StatusResponse, "Maintenance", "Status");
call!(HashKvRequest, HashKvResponse, "Maintenance", "HashKV");

/// Where snapshots are.
pub(crate) const SNAPSHOT_PATH: &str = "/etcdserverpb.Maintenance/Snapshot";

/// Asks a member about itself.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StatusRequest {}

/// A member about itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Of the server, `3.4.23`.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Of the database, in bytes.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// The member that leads; 0 if it knows none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// The newest entry of its log that is committed.
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    /// Its term.
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    /// The newest entry that is applied.
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
    /// Its alarms, and that it has no leader.
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    /// Of the database without free pages, in bytes.
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// Whether it has no vote yet.
    #[prost(bool, tag = "10")]
    pub is_learner: bool,
}

/// Asks for the hash of all revisions up to one.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HashKvRequest {
    /// 0 means the newest.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// A hash of all revisions up to one.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HashKvResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// CRC-32C.
    #[prost(uint32, tag = "2")]
    pub hash: u32,
    /// The oldest revision that can be read.
    #[prost(int64, tag = "3")]
    pub compact_revision: i64,
}

/// Asks for the database.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SnapshotRequest {}

/// A part of the database.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SnapshotResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The bytes that follow this part; without the SHA-256 at the very end.
    #[prost(uint64, tag = "2")]
    pub remaining_bytes: u64,
    /// The part.
    #[prost(bytes = "bytes", tag = "3")]
    pub blob: Bytes,
    /// Of the server, where it tells.
    #[prost(string, tag = "4")]
    pub version: String,
}
