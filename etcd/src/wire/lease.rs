//! Leases: keys that end with their owner. Nothing of this costs a revision, but the end of a lease
//! that has keys.

use bytes::Bytes;

use crate::wire::call::call;
use crate::wire::kv::ResponseHeader;

call!(
    LeaseGrantRequest,
    LeaseGrantResponse,
    "Lease",
    "LeaseGrant",
    |_| true
);
call!(
    LeaseRevokeRequest,
    LeaseRevokeResponse,
    "Lease",
    "LeaseRevoke",
    |_| true
);
call!(
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
    "Lease",
    "LeaseTimeToLive"
);
call!(
    LeaseLeasesRequest,
    LeaseLeasesResponse,
    "Lease",
    "LeaseLeases"
);

/// Where leases are kept alive.
pub(crate) const KEEP_ALIVE_PATH: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Makes a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseGrantRequest {
    /// In seconds; raised to 2 at least, and refused above 9,000,000,000.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
    /// Its number; 0 lets the server choose.
    #[prost(int64, tag = "2")]
    pub id: i64,
}

/// A lease was made.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseGrantResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// In seconds.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// Unused by servers.
    #[prost(string, tag = "4")]
    pub error: String,
}

/// Ends a lease, and deletes its keys in one revision.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseRevokeRequest {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// A lease was ended.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseRevokeResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// Gives a lease its whole time again.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseKeepAliveRequest {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// A lease has its whole time again, or is gone.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseKeepAliveResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// In seconds; 0 if there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

/// Asks what is left of a lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseTimeToLiveRequest {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Answer its keys.
    #[prost(bool, tag = "2")]
    pub keys: bool,
}

/// What is left of a lease.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseTimeToLiveResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// What is left, in seconds; -1 if there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// What it was made with, in seconds.
    #[prost(int64, tag = "4")]
    pub granted_ttl: i64,
    /// Its keys, if asked for.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub keys: Vec<Bytes>,
}

/// Asks for all leases.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseLeasesRequest {}

/// A lease.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LeaseStatus {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// All leases.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseLeasesResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Each once.
    #[prost(message, repeated, tag = "2")]
    pub leases: Vec<LeaseStatus>,
}
