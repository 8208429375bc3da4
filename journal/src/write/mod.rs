//! The writer: queueing, group commit, the end of the file, and what works ahead of it.

pub(crate) mod idle;
pub(crate) mod journal;
pub(crate) mod pending;
pub(crate) mod prepare;
pub(crate) mod preparer;
pub(crate) mod queue;
pub(crate) mod tail;
pub(crate) mod writer;
