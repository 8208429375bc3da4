//! Reading: what a path holds, which part of it is wanted, and the views of it.

mod background;
pub mod checkpoint;
pub mod diff;
pub mod dump;
pub mod filter;
pub mod follow;
pub mod headers;
mod ranking;
pub mod snapshot;
pub mod source;
pub mod stats;
pub mod times;
pub mod tree;
