//! Drills: machines are lost on purpose, and the ledger says whether anything else was.

mod cluster;
pub(crate) mod options;
pub(crate) mod power_cut;
pub(crate) mod report;

pub use options::{Options, Shape};
pub use power_cut::power_cut;
pub use report::Report;
