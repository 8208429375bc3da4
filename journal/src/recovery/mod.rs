//! Opening after whatever happened.

mod chain;
pub(crate) mod end;
pub(crate) mod leftovers;
pub(crate) mod open;
mod torn;
