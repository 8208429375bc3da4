//! Reading: one pass over a bucket, in order, with buffers of bounded size.
//!
//! Nothing in the file is believed. Every number is checked against what it may be before it is
//! used, a bucket's keys must ascend, and its pages together cannot be more than the file has. So
//! pages that lead back to themselves, or overlap, end in an error and not in a loop.

pub(crate) mod cursor;
pub(crate) mod entries;
mod open;
mod pager;
pub(crate) mod records;
pub(crate) mod snapshot;
mod source;
