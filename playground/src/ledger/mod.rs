//! What clients were told, and when: the judge of every drill.
//!
//! Every key has one writer, and a writer has one write to a key under way at a time. So after a
//! loss it can be decided for every key what may be there: the last acknowledged write, or a later
//! one of which nobody was told that it is not done. A write is noted *before* it is sent, and its
//! outcome when the writer says it; a writer that dies in between leaves [`Outcome::Unknown`].
//!
//! A key with an unknown outcome is written no more: the write may still be on its way, and arrive
//! after a later one. [`Ledger::settle`] frees it, once everything that could be under way is dead.

pub(crate) mod audit;
pub(crate) mod book;
pub(crate) mod outcome;
pub(crate) mod times;
pub(crate) mod write;

pub use audit::{Audit, Fault, FaultKind, Revisions, Tally};
pub use book::{Ledger, Refusal, Ticket};
pub use outcome::{Class, Outcome};
pub use times::{Latency, Outage, Point, Requests, latency, outages, requests};
pub use write::Found;
