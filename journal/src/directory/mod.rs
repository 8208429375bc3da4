//! A journal's directory: what it holds at one moment, who has it, and what is kept aside.

pub(crate) mod aside;
pub(crate) mod handle;
pub(crate) mod listing;
pub(crate) mod lock;
