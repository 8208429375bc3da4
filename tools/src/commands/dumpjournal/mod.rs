//! The `dumpjournal` command.

pub mod args;
pub mod run;
