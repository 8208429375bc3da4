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
//!   restored.
//! * Until everything is there and has been compared, the cluster's identity says `restoring`, and
//!   no persister follows it. Of several restores the one with the highest revision goes on.
//! * What the cluster cannot take is found before the first write.
//!
//! | module | what it decides |
//! |---|---|
//! | `source` | what the journal has to give |
//! | `plan` | whether to restore at all (pure) |
//! | `claim`, `election` | who restores, and whether another one is alive |
//! | `validate` | whether the cluster can take it |
//! | `apply` | in which order keys are written, and how many at once |
//! | `compare` | what is there, and whether it is right |
//! | `merge` | writing into a cluster that has keys |
//! | `dry_run` | what would be done |
//! | `load` | the short way into the cluster in our own process |
//! | `prepare` | what both find out before the first write |
//! | `command`, `report` | `persister restore`, and what it prints |

mod apply;
mod claim;
pub mod command;
mod compare;
pub mod digest;
mod dry_run;
mod election;
pub mod job;
mod load;
mod merge;
pub mod options;
pub mod outcome;
mod plan;
mod prepare;
mod progress_bar;
mod report;
pub mod source;
mod validate;

pub use command::{Request, run};
pub use dry_run::{DryRun, Outlook, dry_run};
pub use job::restore;
pub use merge::{Merge, Overwritten};
pub use options::{At, RestoreOptions};
pub use outcome::{Restored, Shifted, Summary};
pub use plan::Reason;
pub use report::Report;
pub use source::Source;
