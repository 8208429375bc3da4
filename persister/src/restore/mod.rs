//! Putting the state of a journal back into a cluster that has lost everything.
//!
//! Promises:
//!
//! * Acts only on a cluster without a key outside the control area, or on one that an interrupted
//!   restore of this history has begun to fill; on any other only by a merge that was asked for.
//! * Keeps revisions: every key comes back at the very revision that it had, no-operations filling
//!   the space between, so that compare-and-set tokens which clients still hold go on working.
//!   Where that is impossible (the fresh cluster is already past a key's revision, or somebody
//!   else writes) the key comes back at a later one, and is reported.
//! * The cluster's counter ends up at the journal's newest revision or beyond, whichever state was
//!   restored; unless that takes more revisions than a cluster should keep, and somebody accepts
//!   that.
//! * A cluster that comes back whole from files is written into only if that is asked for, and what
//!   is lost by it is said before the first write.
//! * Until everything is there and has been compared, the cluster's identity says `bidding` or
//!   `restoring`, and no persister follows it. Of several restores the one with the highest
//!   revision begins, once the bids are over; and what has begun is completed by its own journal,
//!   or by whom an operator tells to.
//! * What the cluster cannot take is found before the first write.
//!
//! | module | what it decides |
//! |---|---|
//! | `source`, `target` | what the journal has to give, and what of it is wanted |
//! | `plan` | whether to restore at all (pure) |
//! | `validate` | whether the cluster can take it |
//! | `leases` | which leases come back, and which keys lose theirs |
//! | `forecast` | what writes take where files would bring back more |
//! | `decide` | all of that: what a restore does, and what a dry run prints |
//! | `claim`, `election` | who restores, and who waits |
//! | `item`, `apply` | in which order keys are written, and how many at once |
//! | `compare` | what is there, and whether it is right |
//! | `merge` | writing into a cluster that has keys |
//! | `put_back` | what a cluster lost that went back, while it lives |
//! | `living` | what both of these ask of a cluster that others write |
//! | `job`, `dry_run` | doing it, or saying so |
//! | `load` | the short way into the cluster in our own process |
//! | `snapshot_file` | a cluster of etcd as a snapshot file, without a cluster to write to |
//! | `command`, `report` | `persister restore`, and what it prints |

mod apply;
mod claim;
pub mod command;
mod compare;
mod decide;
pub mod digest;
mod dry_run;
mod election;
mod forecast;
mod item;
pub mod job;
mod leases;
mod living;
mod load;
mod merge;
pub mod options;
pub mod outcome;
mod plan;
mod progress_bar;
pub mod put_back;
mod report;
pub mod snapshot_file;
pub mod source;
mod target;
mod validate;

pub use command::{Request, run};
pub use dry_run::{DryRun, Outlook, dry_run};
pub use forecast::Forecast;
pub use job::restore;
pub use leases::Leases;
pub use merge::{Merge, Overwritten};
pub use options::{At, RestoreOptions};
pub use outcome::{Restored, Shifted, Summary};
pub use plan::Reason;
pub use report::Report;
pub use snapshot_file::command::to_snapshot;
pub use snapshot_file::report::FileReport;
pub use snapshot_file::request::FileRequest;
pub use source::Source;
