//! Repair is a merge: what is left of a damaged journal, and what other journals and the living
//! cluster still know, becomes a new journal in the old one's place.
//!
//! # Invariants
//!
//! 1. Every revision that the journal or any donor verifiably holds is in the new journal exactly
//!    once and in order. Every other one that may be missing is named by the record of a loss.
//!    Nothing else is there. (Revisions for which a whole snapshot diff of the own journal stands
//!    may be told by that.)
//! 2. Timelines, gaps and checkpoints keep their meaning. A snapshot diff counts as whole only if
//!    all of it is there, nothing was given back that it was taken without, and nothing that it was
//!    taken with is lost. Otherwise what is left of it is kept, and its gap is named as lost. A
//!    loss that this repair found stays an open gap until a later difference is taken.
//! 3. What comes out depends only on what verifies and on what donors know. So a repair that is run
//!    again comes to the same end, and finds nothing more to do.
//! 4. No source is changed before the new journal is complete, durable and read back in full. One
//!    file is the commit (`swap`). Interrupted before, everything is as it was; behind it, the next
//!    repair moves the rest.
//! 5. Files of the old journal are kept in `damaged-N/`. Nothing is ever overwritten or removed but
//!    what an interrupted repair wrote.
//! 6. The new journal is an ordinary one with the old one's identity: no other code knows of
//!    repair. Sequences are given anew.
//! 7. Memory grows with damage, gaps and timelines, not with history.
//!
//! # How they are attacked
//!
//! Damage of all kinds to one to three journals of one random history, against a model that knows
//! which records are whole (`tests/donors.rs`): each repair is checked revision by revision, and
//! run again. Interrupted at every call of a simulated disk, and run again (`tests/donors.rs`,
//! `tests/crashes.rs`). Repaired, damaged and repaired again. Every byte and sector of a small
//! journal (`tests/corruption.rs`). No room at any call (`tests/repair.rs`). Bytes from anywhere
//! (`tests/decoders.rs`).

mod catalog;
pub(crate) mod donor;
mod found;
pub(crate) mod lineage;
mod plan;
pub(crate) mod report;
pub(crate) mod run;
mod salvage;
mod start;
mod swap;
mod told;
pub(crate) mod watch;
mod write;
