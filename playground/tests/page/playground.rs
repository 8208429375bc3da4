//! `cairn playground` as a process, which ends with the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A playground of its own, on a port that was free.
pub(crate) struct Playground {
    /// The link that the terminal shows, with the key.
    pub(crate) link: String,
    child: Child,
    cache: tempfile::TempDir,
}

impl Playground {
    /// Starts one, and waits until it says where it is.
    pub(crate) fn start() -> Result<Self> {
        let cache = tempfile::tempdir()?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", env!("CARGO_BIN_EXE_cairn")])
            .args(["playground", "--listen", "127.0.0.1:0", "--no-open"])
            .env("XDG_CACHE_HOME", cache.path())
            .stdout(Stdio::piped())
            .spawn()
            .context("setpriv, of the Debian package util-linux: ./test installs it")?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let link = lines
            .by_ref()
            .map_while(|line| line.ok())
            .find_map(|line| Some(line[line.find("http://")?..].trim().to_owned()))
            .context("the playground ended before it said where it is")?;
        // Nobody may be in the way of what it says later.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { link, child, cache })
    }

    /// Where a persister keeps its journal.
    pub(crate) fn journal(&self, persister: &str) -> Result<PathBuf> {
        let entries = fs::read_dir(self.cache.path().join("cairn/playground"))?;
        let mut entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let run = entries.find(|path| path.is_dir()).context("a run")?;
        Ok(run.join(persister).join("persister/journal"))
    }

    /// Halts the playground itself, as a computer that sleeps; its children go on.
    pub(crate) fn halt(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it in good order, with all that it has started.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.child.wait().context("the playground ends")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It takes its children along, whatever happened to the test.
            let _ = self.resume();
            let _ = self.end();
        }
    }
}
