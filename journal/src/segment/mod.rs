//! One segment: its records verified one by one, its neighbours, and how a new one comes into
//! being.

pub(crate) mod chain;
pub(crate) mod create;
pub(crate) mod ending;
pub(crate) mod open;
pub(crate) mod scan;
pub(crate) mod window;
