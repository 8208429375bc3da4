//! Drills: machines are lost on purpose, and the ledger says whether anything else was.
//!
//! A drill is a file: `script` reads it, [`run`](run()) does what its steps say.

mod act;
mod build;
mod cluster;
pub(crate) mod deal;
mod guard;
mod guarding;
mod judge;
mod liar;
mod listener;
pub(crate) mod options;
mod page;
mod plan;
mod proxies;
pub(crate) mod report;
mod restore;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod step;
pub(crate) mod watcher;

pub use deal::Policy;
pub use options::{Options, Shape};
pub use report::Report;
pub use run::run;
pub use script::{Named, Script};
pub use step::{Group, Step, Which};
pub use watcher::Watcher;
