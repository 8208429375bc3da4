//! Writing: records and leases in, pages out, in one pass and with buffers of bounded size.

pub(crate) mod encoder;
pub(crate) mod file;
mod rules;
mod sink;
mod tree;
