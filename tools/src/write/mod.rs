//! Writing: text, JSON or another program's journal becomes a journal of ours.

pub mod import;
pub mod load;
pub mod writer;
