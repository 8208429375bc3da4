//! Asking long work to end early.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::error::{Error, Result};

/// Asks work on a whole history or a whole state to end early. Clones ask the same work. The work
/// then ends with [`Error::Stopped`], and leaves nothing behind but what it would leave after a
/// crash.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// [`Error::Stopped`] once somebody has asked.
    ///
    /// # Errors
    /// That one, and no other.
    pub fn check(&self) -> Result<()> {
        if self.is_asked() {
            return Err(Error::Stopped);
        }
        Ok(())
    }
}
