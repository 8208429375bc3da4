//! The persister as a process: what it needs of the machine, who may hold it up, and how it ends.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;
mod ends;
mod limits;
mod outputs;
mod settings;
