//! Attempts to break what the head of `world` promises, and the drill's own tests.

mod drills;
mod ends;
mod machines;
mod probes;
#[path = "../common/processes.rs"]
mod processes;
mod services;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cairn_playground::world::services::{Look, Place};
use cairn_playground::world::{Launch, Port, RunDirectory, Service, World};

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test, which is also the guard.
fn cairn() -> PathBuf {
    env!("CARGO_BIN_EXE_cairn").into()
}

/// A world of its own, below a directory that goes away with the test.
fn world() -> Result<(World, tempfile::TempDir)> {
    let scratch = tempfile::tempdir()?;
    let directory = RunDirectory::create(&scratch.path().join("runs"))?;
    Ok((World::new(cairn(), directory), scratch))
}

/// A shell script as a service.
#[derive(Debug)]
struct Shell {
    name: &'static str,
    script: String,
    is_ready: fn(&Path) -> bool,
    directory: PathBuf,
    limit: Duration,
}

impl Shell {
    /// Ready as soon as it runs.
    fn new(script: &str) -> Self {
        Self {
            name: "shell",
            script: script.to_owned(),
            is_ready: |_| true,
            directory: PathBuf::new(),
            limit: Duration::from_millis(400),
        }
    }

    /// Ready when its script has made the file `ready` in its directory.
    fn with_file(world: &World, machine: &str, script: &str) -> Self {
        Self {
            is_ready: |directory| directory.join("ready").exists(),
            directory: world.directory().join(machine).join("shell"),
            limit: Duration::from_secs(20),
            ..Self::new(script)
        }
    }
}

impl Service for Shell {
    fn name(&self) -> &str {
        self.name
    }

    fn launch(&self, place: &Place) -> cairn_playground::world::Result<Launch> {
        // A shell cannot hear what its parent ignores, as that of a job in the background does.
        let shell = ["--default-signal", "/bin/sh", "-c", &self.script];
        Ok(Launch::new(self.name, "env", &place.log).args(shell))
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { (self.is_ready)(&self.directory) })
    }

    fn ports(&self) -> Vec<&Port> {
        Vec::new()
    }

    fn start_limit(&self) -> Duration {
        self.limit
    }

    fn end_limit(&self) -> Duration {
        self.limit
    }
}

/// Looks again and again until it is so.
fn eventually(what: &str, mut is_it: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_it()? {
        if start.elapsed() > DEADLINE {
            bail!("{what}: not within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
