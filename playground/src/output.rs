//! What is printed. A drill goes on whether or not somebody reads it.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stderr, stdout};

use anyhow::{Context as _, Result};

/// To standard output, whose reader may have read enough.
///
/// # Errors
/// Any other reason why it does not take the text, such as a full disk.
pub fn print(text: impl Display) -> Result<()> {
    let mut out = stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to standard output"),
    }
}

/// A line to standard error. Nothing is left to be done where that takes none.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
