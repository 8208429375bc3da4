//! The tools as people and scripts meet them: real processes, pipes and exit codes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod check;
mod checkpoint;
mod diff;
mod doozer;
mod foreign;
mod inspect;
mod journal;
mod live;
mod run;
mod times;
mod versions;
