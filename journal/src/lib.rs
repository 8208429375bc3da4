//! An append-only, checksummed, crash-safe journal: segments, group commit, recovery.
//!
//! It knows nothing of clusters: it stores records of changes, each at a revision, and says when
//! they are on disk.

mod directory;
mod entry;
mod error;
mod idle;
mod ids;
mod journal;
mod layout;
mod options;
mod payload;
mod queue;
mod reader;
mod recovery;
mod repair;
mod salvage;
mod scan;
mod segment;
mod state;
pub mod storage;
mod tail;
mod tracker;

pub use entry::{
    Change, Entry, Gap, GapPhase, GapReason, IndexPoint, Location, NewRecord, Op, Record, Timeline,
};
pub use error::{Error, Result};
pub use ids::{Revision, Sequence, Timestamp};
pub use journal::{End, Journal};
pub use options::Options;
pub use reader::{EndState, Reader, Records};
pub use recovery::Recovery;
pub use repair::{Damage, RepairReport, repair, repair_with};
pub use state::{State, state};
pub use uuid::Uuid;
