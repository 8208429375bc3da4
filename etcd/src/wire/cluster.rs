//! The members of a cluster.

use crate::wire::call::call;
use crate::wire::kv::ResponseHeader;

call!(
    MemberListRequest,
    MemberListResponse,
    "Cluster",
    "MemberList"
);
call!(
    MemberAddRequest,
    MemberAddResponse,
    "Cluster",
    "MemberAdd",
    |_| true
);
call!(
    MemberRemoveRequest,
    MemberRemoveResponse,
    "Cluster",
    "MemberRemove",
    |_| true
);

/// One member.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Member {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name; empty if it has not been started yet.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where other members reach it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as it says.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

/// Asks for all members.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MemberListRequest {
    /// Ask a majority; ignored before 3.5.
    #[prost(bool, tag = "1")]
    pub linearizable: bool,
}

/// All members.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberListResponse {
    /// Where the member stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Each once.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// Makes a new member known, before it is started. Its name is not asked for: it tells it itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberAddRequest {
    /// Where other members will reach it.
    #[prost(string, repeated, tag = "1")]
    pub peer_urls: Vec<String>,
}

/// A member that was made known.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberAddResponse {
    /// Where the member that answered stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The new one.
    #[prost(message, optional, tag = "2")]
    pub member: Option<Member>,
    /// All of them, the new one among them.
    #[prost(message, repeated, tag = "3")]
    pub members: Vec<Member>,
}

/// Takes a member out of the cluster for good: what it has on disk is of no more use.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MemberRemoveRequest {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// What is left.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRemoveResponse {
    /// Where the member that answered stands.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All that are left.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}
