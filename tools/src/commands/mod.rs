//! The commands on journals: arguments, messages and exit codes.

pub mod diffjournal;
pub mod dumpjournal;
pub mod exit;
pub mod writejournal;
