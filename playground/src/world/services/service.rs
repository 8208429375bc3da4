//! What a machine runs, and what it asks of it.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::{Launch, Process};

/// How long a service may take to become ready, unless it says otherwise.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a service may take to end, unless it says otherwise.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Where a service of a machine lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its disk, and its working directory: what a wipe deletes.
    pub directory: PathBuf,
    /// Its log, which survives a wipe.
    pub log: PathBuf,
}

/// A future in a box, so that services of different kinds stand in one list.
pub type Look<'a> = Pin<Box<dyn Future<Output = bool> + std::marker::Send + 'a>>;

/// A program that a machine runs.
pub trait Service: fmt::Debug + std::marker::Send + Sync {
    /// Its name within its machine; a part of file names.
    fn name(&self) -> &str;

    /// How to start it now. The working directory and the name are set by the machine.
    ///
    /// # Errors
    /// What cannot be prepared.
    fn launch(&self, place: &Place) -> Result<Launch>;

    /// Told of each new process, before it is waited for: the moment to take its pipes.
    fn launched(&self, _process: &Process) {}

    /// Whether it serves. Looked again and again, so it must not take long.
    fn is_ready(&self) -> Look<'_>;

    /// The ports that it listens on: others after it was replaced.
    fn ports(&self) -> Vec<&Port>;

    /// How long it may take to become ready.
    fn start_limit(&self) -> Duration {
        START_LIMIT
    }

    /// How long it may take to end once it was signalled. After SIGKILL that is for the kernel
    /// alone.
    fn end_limit(&self) -> Duration {
        END_LIMIT
    }
}
