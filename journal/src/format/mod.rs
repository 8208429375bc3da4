//! The bytes of a journal, as `docs/format.md` tables them. Nothing else in the crate knows any.

pub(crate) mod bytes;
pub(crate) mod checkpoint;
pub(crate) mod context;
pub(crate) mod header;
pub(crate) mod kind;
pub(crate) mod layout;
#[cfg(test)]
mod model;
pub(crate) mod names;
pub(crate) mod payload;
pub(crate) mod position;
pub(crate) mod table;
