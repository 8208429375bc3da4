//! `cairn playground` as a process, which ends with the test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

const PLAYGROUND: [&str; 4] = ["playground", "--listen", "127.0.0.1:0", "--no-open"];

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
        Self::start_with(&[])
    }

    /// Starts one with these arguments.
    pub(crate) fn start_with(args: &[&str]) -> Result<Self> {
        Self::spawn(
            &[&PLAYGROUND, args].concat(),
            &std::env::var_os("PATH").unwrap_or_default(),
        )
    }

    /// Starts one to which nothing is installed.
    pub(crate) fn start_without_path(args: &[&str]) -> Result<Self> {
        Self::spawn(&[&PLAYGROUND, args].concat(), OsStr::new(""))
    }

    /// Starts a drill that can be watched.
    pub(crate) fn drill(args: &[&str]) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::spawn(&[&["drill"], args, &["--page=127.0.0.1:0"]].concat(), &path)
    }

    fn spawn(args: &[&str], path: &OsStr) -> Result<Self> {
        let cache = tempfile::tempdir()?;
        // A playground says it on one stream, a drill on the other.
        let (reader, writer) = std::io::pipe()?;
        let child = Command::new("/usr/bin/setpriv")
            .args(["--pdeathsig", "TERM", env!("CARGO_BIN_EXE_cairn")])
            .args(args)
            .env("XDG_CACHE_HOME", cache.path())
            .env("PATH", path)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .context("setpriv, of the Debian package util-linux: ./test installs it")?;
        let mut lines = BufReader::new(reader).lines();
        let link = lines
            .by_ref()
            .map_while(|line| line.ok())
            .find_map(|line| Some(line[line.find("http://")?..].trim().to_owned()))
            .context("the playground ended before it said where it is")?;
        // Nobody may be in the way of what it says later, and a test that fails shows it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|it| eprintln!("{it}")));
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

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        self.child.wait().context("it ends")
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
