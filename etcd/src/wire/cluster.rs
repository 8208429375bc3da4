//! The members of a cluster.

use crate::wire::call::call;
use crate::wire::kv::ResponseHeader;

call!(
    MemberListRequest,
    MemberListResponse,
    "Cluster",
    "MemberList"
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
