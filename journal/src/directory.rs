//! The files of a journal: their names, and how segments hang together.
//!
//! Reads only, but for [`Listing::give_name`]. What is said here of the chain of segments holds for
//! recovery, reading and repair.

mod chain;
mod ending;
mod listing;
mod name;
mod segment;

pub(crate) use chain::{Extent, check_extent, link, verify};
pub(crate) use ending::{Tail, judge};
pub(crate) use listing::{Listing, as_found};
pub(crate) use name::{
    CHECKPOINT, LOCK, NEXT, Name, REPAIR, TEMPORARY, checkpoint_name, classify, run_name,
    segment_name,
};
pub(crate) use segment::Segment;
