//! The command-line tools of Cairn: `dumpjournal`, `diffjournal`, `writejournal` and `doozer`.
//!
//! The binaries parse arguments and run what is here; everything that can be wrong is here, where
//! tests reach it.
//!
//! Forms: [`text`] (total and reversible), [`json`] (everything a record says), [`foreign`] (journals
//! of other programs).
//!
//! Reading: [`source`] (what a path holds), [`filter`] (which part of it), [`dump`], [`follow`],
//! [`headers`], [`stats`], [`tree`] (the state at a point), [`checkpoint`] (one checkpoint file),
//! [`mod@diff`] (two journals).
//!
//! Writing: [`load`] (text and JSON), [`import`] (journals of other programs), both through
//! [`writer`].
//!
//! [`doozer`] is the command-line client.

pub mod checkpoint;
pub mod diff;
pub mod diffjournal;
pub mod doozer;
pub mod dump;
pub mod dumpjournal;
pub mod exit;
pub mod filter;
pub mod follow;
pub mod foreign;
pub mod headers;
pub mod import;
pub mod json;
pub mod load;
mod output;
mod ranking;
pub mod source;
pub mod stats;
pub mod text;
pub mod tree;
pub mod writejournal;
pub mod writer;
