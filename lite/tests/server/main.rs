//! A real node on a real socket, spoken to in bytes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod abuse;
mod binary;
mod control;
mod following;
mod limits;
mod listing;
mod local;
mod lock;
mod node;
mod replay;
mod together;
mod waiting;
