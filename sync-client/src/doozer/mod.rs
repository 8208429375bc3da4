//! The sync client of doozer clusters: the regular client, and writes that wait for persisters.

pub(crate) mod bind;
pub(crate) mod client;
mod confirm;
mod convert;
mod delete;
pub(crate) mod error;
mod follow;
mod range;
pub(crate) mod streams;
