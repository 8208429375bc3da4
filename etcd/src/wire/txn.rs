//! Transactions: compare, then do the one or the other, in one revision.

use std::fmt;

use bytes::Bytes;

use crate::wire::call::call;
use crate::wire::kv::{DeleteRangeRequest, PutRequest, RangeRequest, ResponseHeader};

call!(TxnRequest, TxnResponse, "KV", "Txn", TxnRequest::may_write);

/// How a key's fact must be to the stated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// The same.
    Equal = 0,
    /// Greater.
    Greater = 1,
    /// Less.
    Less = 2,
    /// Not the same.
    NotEqual = 3,
}

/// Which of a key's facts is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// Its version; 0 if there is no such key.
    Version = 0,
    /// Its create revision; 0 if there is no such key.
    Create = 1,
    /// Its mod revision; 0 if there is no such key.
    Mod = 2,
    /// Its value; unequal to everything if there is no such key.
    Value = 3,
    /// Its lease.
    Lease = 4,
}

/// What a fact is compared with.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
#[prost(skip_debug)]
pub enum Operand {
    /// A version.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// A create revision.
    #[prost(int64, tag = "5")]
    CreateRevision(i64),
    /// A mod revision.
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    /// A value.
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
    /// A lease.
    #[prost(int64, tag = "8")]
    Lease(i64),
}

impl fmt::Debug for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(number) => write!(f, "Version({number})"),
            Self::CreateRevision(number) => write!(f, "CreateRevision({number})"),
            Self::ModRevision(number) => write!(f, "ModRevision({number})"),
            Self::Value(value) => write!(f, "Value({} bytes)", value.len()),
            Self::Lease(number) => write!(f, "Lease({number})"),
        }
    }
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// How they must compare.
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// What is compared.
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// Of which key.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// With what.
    #[prost(oneof = "Operand", tags = "4, 5, 6, 7, 8")]
    pub operand: Option<Operand>,
    /// If not empty: of all keys of a range, as in [`RangeRequest::range_end`].
    #[prost(bytes = "bytes", tag = "64")]
    pub range_end: Bytes,
}

impl Compare {
    /// A condition on one key.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, result: CompareResult, operand: Operand) -> Self {
        let target = match operand {
            Operand::Version(_) => CompareTarget::Version,
            Operand::CreateRevision(_) => CompareTarget::Create,
            Operand::ModRevision(_) => CompareTarget::Mod,
            Operand::Value(_) => CompareTarget::Value,
            Operand::Lease(_) => CompareTarget::Lease,
        };
        Self {
            result: result.into(),
            target: target.into(),
            key: key.into(),
            operand: Some(operand),
            range_end: Bytes::new(),
        }
    }

    /// There is no such key.
    #[must_use]
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::new(key, CompareResult::Equal, Operand::CreateRevision(0))
    }

    /// The key was last changed at `revision`.
    #[must_use]
    pub fn unchanged(key: impl Into<Bytes>, revision: i64) -> Self {
        Self::new(key, CompareResult::Equal, Operand::ModRevision(revision))
    }

    /// The key exists and has this value.
    #[must_use]
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::new(key, CompareResult::Equal, Operand::Value(value.into()))
    }
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestOp {
    /// The operation.
    #[prost(oneof = "request_op::Request", tags = "1, 2, 3, 4")]
    pub request: Option<request_op::Request>,
}

/// The operations of a transaction.
pub mod request_op {
    use super::TxnRequest;
    use crate::wire::kv::{DeleteRangeRequest, PutRequest, RangeRequest};

    /// What one operation does.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Request {
        /// Reads.
        #[prost(message, tag = "1")]
        Range(RangeRequest),
        /// Writes.
        #[prost(message, tag = "2")]
        Put(PutRequest),
        /// Deletes.
        #[prost(message, tag = "3")]
        DeleteRange(DeleteRangeRequest),
        /// A transaction within.
        #[prost(message, tag = "4")]
        Txn(TxnRequest),
    }
}

macro_rules! operation {
    ($request:ty, $variant:ident) => {
        impl From<$request> for RequestOp {
            fn from(request: $request) -> Self {
                Self {
                    request: Some(request_op::Request::$variant(request)),
                }
            }
        }
    };
}
operation!(RangeRequest, Range);
operation!(PutRequest, Put);
operation!(DeleteRangeRequest, DeleteRange);
operation!(TxnRequest, Txn);

/// What one operation came to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResponseOp {
    /// The answer.
    #[prost(oneof = "response_op::Response", tags = "1, 2, 3, 4")]
    pub response: Option<response_op::Response>,
}

/// The answers of a transaction's operations.
pub mod response_op {
    use super::TxnResponse;
    use crate::wire::kv::{DeleteRangeResponse, PutResponse, RangeResponse};

    /// What one operation answered.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Response {
        /// To a read.
        #[prost(message, tag = "1")]
        Range(RangeResponse),
        /// To a write.
        #[prost(message, tag = "2")]
        Put(PutResponse),
        /// To a delete.
        #[prost(message, tag = "3")]
        DeleteRange(DeleteRangeResponse),
        /// To a transaction within.
        #[prost(message, tag = "4")]
        Txn(TxnResponse),
    }
}

/// Does `success` if all of `compare` holds, else `failure`; at most one revision. A key may be
/// written at most once.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnRequest {
    /// The conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done if all hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Done if one does not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

impl TxnRequest {
    fn may_write(&self) -> bool {
        let mut operations = self.success.iter().chain(&self.failure);
        operations.any(|operation| match &operation.request {
            Some(request_op::Request::Range(_)) | None => false,
            Some(request_op::Request::Txn(within)) => within.may_write(),
            Some(_) => true,
        })
    }
}

/// What a transaction came to.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TxnResponse {
    /// Its revision is that of the transaction only if it [changed something](Self::changed).
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether all conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// One for each operation that was done, in order.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

impl TxnResponse {
    /// Whether it changed something, and so consumed the revision of its header.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.responses
            .iter()
            .any(|operation| match &operation.response {
                Some(response_op::Response::Put(_)) => true,
                Some(response_op::Response::DeleteRange(deleted)) => deleted.deleted > 0,
                Some(response_op::Response::Txn(within)) => within.changed(),
                Some(response_op::Response::Range(_)) | None => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::call::Call as _;

    #[test]
    fn a_transaction_writes_if_something_in_it_does() {
        let mut txn = TxnRequest::default();
        assert!(!txn.writes());
        txn.success.push(RangeRequest::key("k").into());
        assert!(!txn.writes());
        let within = TxnRequest {
            failure: vec![DeleteRangeRequest::key("k").into()],
            ..TxnRequest::default()
        };
        txn.failure.push(within.into());
        assert!(txn.writes());
    }

    #[test]
    fn compared_values_are_not_printed() {
        let said = format!("{:?}", Compare::value("k", "hush"));
        assert!(!said.contains("hush"), "{said}");
    }
}
