//! The messages of etcd's API v3 that we use, declared by hand so that no code generator is needed.
//!
//! Names and numbers are etcd's. A field that is absent is its type's zero, as in proto3. Fields
//! that we do not know are skipped, so that newer servers can be talked to.

pub(crate) mod auth;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod codec;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod txn;
pub(crate) mod watch;

pub use auth::{AuthenticateRequest, AuthenticateResponse};
pub use call::Call;
pub use cluster::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberRemoveRequest, MemberRemoveResponse,
};
pub use codec::Codec;
pub use kv::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, KeyValue,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, SortOrder, SortTarget,
};
pub use lease::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
pub use maintenance::{
    HashKvRequest, HashKvResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
pub use txn::{
    Compare, CompareResult, CompareTarget, Operand, RequestOp, ResponseOp, TxnRequest, TxnResponse,
    request_op, response_op,
};
pub use watch::{Event, EventType, WatchCreateRequest, WatchRequest, WatchResponse, watch_request};
