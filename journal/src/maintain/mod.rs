//! Making checkpoints, and removing what they cover.
//!
//! Promises: memory depends neither on the size of the state nor on the length of history; a
//! checkpoint has its name only once it is complete, on disk and read back; records are removed
//! only behind a verified checkpoint, oldest first, so that the directory can be opened at every
//! step. Appending never waits for any of this.

pub(crate) mod collect;
pub(crate) mod make;
pub(crate) mod merge;
pub(crate) mod retire;
pub(crate) mod runs;
pub(crate) mod sorted;

pub use crate::checkpoint::history::Checkpoints;
pub use make::{CheckpointOutcome, CheckpointReport};
pub use retire::{RetentionReport, RetiredHistory};
pub use sorted::{ConsistentState, SortedEntries, Sorter};
