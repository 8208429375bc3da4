//! The command-line tools of Cairn: `dumpjournal`, `writejournal` and `doozer`.
//!
//! The binaries parse arguments and run what is here; everything that can be wrong is here, where
//! tests reach it.
//!
//! - [`text`]: the text form of a journal, total and reversible.
//! - [`dump`]: journal to text, streaming.
//! - [`load`]: text to journal.
//! - [`doozer`]: the command-line client.

pub mod doozer;
pub mod dump;
pub mod dumpjournal;
pub mod exit;
pub mod load;
pub mod text;
pub mod writejournal;
