//! The `doozer` command: a command-line client in the shape of the well-known one.

pub mod args;
pub mod bench;
pub mod failure;
pub mod output;
pub mod run;
pub mod session;
