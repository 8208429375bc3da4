//! The command-line tools of Cairn: `dumpjournal`, `diffjournal`, `writejournal` and `doozer`.
//!
//! The binaries parse arguments and call into here, so that tests reach everything else.
//!
//! | module | |
//! |---|---|
//! | [`forms`] | text (total and reversible), JSON, the journals of other programs |
//! | [`read`] | what a path holds, the part of it that is wanted, and its views |
//! | [`mod@write`] | text, JSON or another program's journal becomes a journal |
//! | [`commands`] | `dumpjournal`, `diffjournal`, `writejournal`: arguments, messages, exit codes |
//! | [`doozer`] | the command-line client of a cluster |
//!
//! Arrows: `commands` -> `read`, `write` -> `forms`; `doozer` stands alone.
//!
//! Errors: a source may be damaged, foreign or gone ([`SourceError`]); output may have lost its
//! reader ([`DumpError`]); a journal may not know a state ([`TreeError`]); input may be malformed,
//! and its line or offset is then named ([`LoadError`]).
//!
//! [`SourceError`]: read::source::SourceError
//! [`DumpError`]: read::dump::DumpError
//! [`TreeError`]: read::tree::TreeError
//! [`LoadError`]: write::writer::LoadError

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;
pub mod doozer;
pub mod forms;
pub mod read;
pub mod write;
