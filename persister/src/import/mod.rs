//! A journal from a snapshot file of etcd: for a restore from a backup that no persister saw, and
//! for history that is older than a persister's first start.
//!
//! Promises:
//!
//! * The journal has its name only when it was read back, and its keys are those of the file. A
//!   directory that has anything in it is left alone.
//! * It has everything that the file has: the state at the compacted revision C, and every revision
//!   after it. What it says of each is what a persister would have journaled.
//! * It is bound to the cluster that the file names. Where the file names none, a persister does
//!   not follow any cluster with it; unless it was imported by `--base`, beside a cluster whose
//!   keys are those of the file as far as both have them.
//!
//! | module | what it decides |
//! |---|---|
//! | `write` | the journal, from the file |
//! | `base` | whether a file is of the cluster that is to be followed |
//! | `command`, `report` | `persister import`, and what it prints |

pub mod base;
pub mod command;
pub mod report;
mod write;

pub use command::{ImportRequest, import};
pub use report::ImportReport;
