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
//! | `life` | the order of it all: open, restore, attach, follow, again and again |
//! | `embedded` | the cluster in the same process: when it may be talked to |
//! | [`identity`] | whether a cluster is the one that the journal followed (pure) |
//! | [`mirror`] | which mirror writes are needed, and which may fly together (pure) |
//! | [`owner`] | who holds an id |
//! | [`attach`], [`difference`] | how a session becomes one that may be followed, also across a gap |
//! | [`pipeline`], [`stage`] | follow, journal, publish |
//! | [`upkeep`] | when checkpoints are made and history is retired |
//! | [`mod@restore`] | how a journal's state goes back into an empty cluster |
//! | [`observe`] | what is told to Prometheus, health checks, the service manager, people |
//! | [`config`] | flags over environment over file over defaults |
//! | [`cluster`] | what a cluster is to all of them; the only place that knows a protocol |

pub mod attach;
pub mod cluster;
pub mod config;
pub mod difference;
pub mod digest;
mod embedded;
pub mod error;
pub mod identity;
mod life;
pub mod mirror;
pub mod observe;
pub mod owner;
pub mod patience;
pub mod pipeline;
pub mod progress;
pub mod repair;
pub mod restore;
pub mod stage;
pub mod upkeep;

pub use life::run;
