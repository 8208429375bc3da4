//! The persister: follows a cluster, journals every change, and says inside the cluster what is
//! on disk.
//!
//! ```text
//!  run ── open journal ── (restore) ──▶ attach ──▶ pipeline ──▶ attach ──▶ ...
//!                                       identify    follow, journal, publish
//! ```
//!
//! One idea carries most of it: *a reconnect is a restart*. A [`pipeline`] lives as long as one
//! connection to one identified cluster, and the next begins where the journal ends. There is one
//! way to resume, whatever was interrupted, and nothing that was known about one cluster is ever
//! said to another.
//!
//! Where to find what:
//!
//! | module | what it decides |
//! |---|---|
//! | `run` | the order of it all: open, restore, attach, follow, again and again |
//! | [`cluster`] | what a cluster is to all of them; the only place that knows a protocol |
//! | [`identity`] | whether a cluster is the one that the journal followed, and who holds an id |
//! | [`attach`] | how a session becomes one that may be followed, also across a gap |
//! | [`pipeline`] | follow, journal, publish |
//! | [`mirror`] | what the mirror of paths still has to be told, and in which order |
//! | [`maintenance`] | when checkpoints are made and history is retired |
//! | [`mod@restore`] | how a journal's state goes back into an empty cluster |
//! | [`repair`] | how a damaged journal is mended before it is opened |
//! | [`mod@import`] | a journal from a snapshot file of etcd |
//! | [`observe`] | what is told to Prometheus, health checks, the service manager, people |
//! | [`process`] | limits, signals, exit status |
//! | [`trouble`] | what an error of the operating system means |
//! | [`config`] | flags over environment over file over defaults |

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod attach;
pub mod cluster;
pub mod config;
pub mod error;
pub mod file_error;
pub mod host_port;
pub mod identity;
pub mod import;
pub mod maintenance;
pub mod mirror;
pub mod observe;
pub mod pipeline;
pub mod process;
pub mod repair;
pub mod restore;
mod run;
pub mod trouble;

pub use run::end::End;
pub use run::run;
