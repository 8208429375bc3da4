//! Journals that other programs wrote, read as changes with the place where each stands.

mod blocks;
pub mod entry;
pub mod file;
mod text_log;
mod window;
