//! Real processes for end-to-end tests: started, waited for, killed.
//!
//! Promises: a process never outlives the value that stands for it; every wait has a deadline and,
//! when it passes, the error carries the last lines that the process wrote; nothing waits by
//! sleeping for a while and hoping.

mod cluster;
mod files;
mod found;
mod needs;
mod process;
mod programs;
mod proxy;
mod settings;
mod small_disk;
mod usage;
mod waits;
mod writers;

pub use cluster::{Lite, persister, served, served_at};
pub use files::files_below;
pub use found::{Tree, history, journaled, journaled_once, records, tree};
pub use needs::needed;
pub use process::{DEADLINE, Process};
pub use programs::program;
pub use proxy::Proxy;
pub use settings::{given, seeded, setting};
pub use small_disk::SmallDisk;
pub use usage::usage;
pub use waits::{
    attached, durable, eventually, goes_on, mirrored, restored, shows_delete, shows_set,
};
pub use writers::{Writers, Writing};
