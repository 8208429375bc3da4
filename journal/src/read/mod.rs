//! Reading, without a lock and without writing.

pub(crate) mod at_time;
mod begin;
mod current;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod segment_file;
pub(crate) mod state;
