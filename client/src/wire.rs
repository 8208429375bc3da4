//! The messages of the doozer protocol, declared by hand so that no code generator is needed.
//!
//! Every field is optional, and absent differs from zero: a SET without `rev` is an error while
//! `rev = 0` means "must not exist". Both sides therefore keep `Option`s to the very edge.

// The accessor that is derived for the field `len` is not the length of a collection.
#![allow(clippy::len_without_is_empty)]

use std::fmt;

use bytes::Bytes;

/// One request. On the wire: a big-endian `u32` length, then this message in protobuf.
///
/// Its `Debug` output gives the length of the value only: the value may be a secret, or long.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Request {
    /// Chosen by the client; the response carries the same.
    #[prost(int32, optional, tag = "1")]
    pub tag: Option<i32>,
    /// The verb: a [`Verb`], kept as a number because a peer may send one we do not know.
    #[prost(int32, optional, tag = "2")]
    pub verb: Option<i32>,
    /// A path or a glob, by verb.
    #[prost(string, optional, tag = "4")]
    pub path: Option<String>,
    /// The body to set, or the secret of ACCESS.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub value: Option<Bytes>,
    /// Unused by every verb that servers still answer.
    #[prost(int32, optional, tag = "6")]
    pub other_tag: Option<i32>,
    /// The entry of a listing, counted from 0.
    #[prost(int32, optional, tag = "7")]
    pub offset: Option<i32>,
    /// The revision to compare with, to read at, or to wait from, by verb.
    #[prost(int64, optional, tag = "9")]
    pub rev: Option<i64>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("tag", &self.tag)
            .field("verb", &self.verb)
            .field("path", &self.path)
            .field("value_len", &self.value.as_ref().map(Bytes::len))
            .field("offset", &self.offset)
            .field("rev", &self.rev)
            .finish_non_exhaustive()
    }
}

/// One response, matched to its request by `tag`; responses come in any order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Response {
    /// The tag of the request.
    #[prost(int32, optional, tag = "1")]
    pub tag: Option<i32>,
    /// [`FLAG_SET`], [`FLAG_DELETE`], or 0 for a NOP's event.
    #[prost(int32, optional, tag = "2")]
    pub flags: Option<i32>,
    /// The revision of the file, of the write, or of the event.
    #[prost(int64, optional, tag = "3")]
    pub rev: Option<i64>,
    /// The path of the entry or event.
    #[prost(string, optional, tag = "5")]
    pub path: Option<String>,
    /// The body.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub value: Option<Bytes>,
    /// STAT: the body's length, or the number of entries of a directory.
    #[prost(int32, optional, tag = "8")]
    pub len: Option<i32>,
    /// Why the request failed: an [`ErrCode`], as a number.
    #[prost(int32, optional, tag = "100")]
    pub err_code: Option<i32>,
    /// More about the failure.
    #[prost(string, optional, tag = "101")]
    pub err_detail: Option<String>,
}

/// [`Response::flags`]: the event set the path.
pub const FLAG_SET: i32 = 4;
/// [`Response::flags`]: the event deleted the path.
pub const FLAG_DELETE: i32 = 8;

/// The verbs of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Verb {
    /// Read a file, now or at a revision.
    Get = 1,
    /// Write a file if its revision allows it.
    Set = 2,
    /// Delete a file if its revision allows it.
    Del = 3,
    /// The newest revision.
    Rev = 5,
    /// The first event at or after a revision whose path matches a glob.
    Wait = 6,
    /// Consume a revision.
    Nop = 7,
    /// The n-th file whose path matches a glob.
    Walk = 9,
    /// The n-th name in a directory.
    Getdir = 14,
    /// Length and revision of a file, or the number of entries of a directory.
    Stat = 16,
    /// The node's own name.
    Self_ = 20,
    /// Present a secret.
    Access = 99,
    /// All events from a revision on, as many as there are and fit into one answer: an extension
    /// that no real node knows.
    Follow = 1_001,
}

/// Why a request failed, as the server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ErrCode {
    /// Another request with this tag is still unanswered.
    TagInUse = 1,
    /// The server does not know the verb.
    UnknownVerb = 2,
    /// The node does not take writes.
    Readonly = 3,
    /// The revision's history has been discarded.
    TooLate = 4,
    /// The file's revision is newer than the one given.
    RevMismatch = 5,
    /// The path has a character or a shape that is not allowed.
    BadPath = 6,
    /// A required field is absent.
    MissingArg = 7,
    /// The offset is beyond the listing.
    Range = 8,
    /// A file stands where a directory is needed.
    Notdir = 20,
    /// A directory stands where a file is needed.
    Isdir = 21,
    /// There is no such directory.
    Noent = 22,
    /// See the detail.
    Other = 127,
}
