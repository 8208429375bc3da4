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
//!
//! Errors: what is read may be damaged, foreign, or gone ([`source::SourceError`]); what is printed may find
//! nobody to read it ([`dump::DumpError`]); a state may be one that the journal does not know
//! ([`tree::TreeError`]); what is loaded may be nonsense, and is then named by its line or offset
//! ([`writer::LoadError`]). Each function's type says which of them it can meet.

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
