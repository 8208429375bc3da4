//! Plain data: what a journal is told and tells, without a byte of how it is stored.

pub(crate) mod entry;
pub(crate) mod ids;
pub(crate) mod span;
pub(crate) mod time;
pub(crate) mod view;
