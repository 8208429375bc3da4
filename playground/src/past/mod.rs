//! The past of a cluster, by its changes: what a persister has journaled.
//!
//! Changes are counted from 1 on, which is the first that the journal still has. The state *at* a
//! change is the one right after it; at 0 there is nothing, or what a checkpoint holds in the stead
//! of records that retention has removed. Revisions would be a poor scale: heartbeats and mirrors
//! take most of them, and after a restore they may begin anew.
//!
//! Journals are only read, beside the persisters that write them. The first journal that can be
//! read is shown, for as long as it is the same one; where it was wiped, the next one is.
//!
//! Bounded: of the changes only every 256th's place is kept; of states, as many as fit into a fixed
//! number of bytes.

mod answers;
mod cache;
mod changes;
mod cursor;
mod diff;
mod index;
pub(crate) mod reading;
mod shown;
pub(crate) mod text;
