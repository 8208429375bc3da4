//! Checkpoints: the whole state at a consistent point of the journal, sorted by path, in a file of
//! its own.
//!
//! Promises: a checkpoint is believed only where its checksums match, and what it covers is this
//! journal's past. How one is made is in [`maintain`](crate::maintain).

pub(crate) mod ages;
pub(crate) mod blocks;
pub(crate) mod buffers;
pub(crate) mod copy;
pub(crate) mod file;
pub(crate) mod history;
pub(crate) mod item;
pub(crate) mod retention;
pub(crate) mod stored;
pub(crate) mod verified;
