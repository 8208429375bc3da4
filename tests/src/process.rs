//! One child process of a test: the world's, with a deadline on every wait.

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_playground::world::{self, Launch};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::programs::program;

/// How long anything may take before a test gives up on it: far more than it should.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A child process; killed when dropped, and when the test's own process ends however it does.
pub struct Process {
    inner: world::Process,
    stdout: BufReader<ChildStdout>,
    /// Of the log. Last, so that nobody writes there any more when it goes.
    _directory: TempDir,
}

impl Process {
    /// Starts one of the workspace's programs.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut command = Command::new(program(name)?);
        command.args(args);
        Self::spawn(name, &command)
    }

    /// Starts any command: its program, arguments, variables and directory.
    pub fn spawn(name: &str, command: &Command) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let launch = Launch {
            pipe_stdout: true,
            ..Launch::of(name, command, directory.path().join("log"))
        };
        let inner = world::Process::start(&launch, &program("cairn")?)?;
        let stdout = inner.take_stdout().context("standard output is piped")?;
        Ok(Self {
            inner,
            stdout: BufReader::new(stdout),
            _directory: directory,
        })
    }

    /// The next line of its standard output.
    pub fn line_on_stdout(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("{} said nothing and ended:\n{}", self.name(), self.log());
        }
        Ok(line)
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    /// Everything that it wrote to standard error.
    pub fn log(&self) -> String {
        self.inner.log()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.inner.pid()
    }

    /// SIGKILL: no handler runs, no buffer is flushed.
    pub fn kill(&mut self) -> Result<()> {
        self.inner.kill();
        self.wait().map(drop)
    }

    /// SIGTERM, then waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.ask_to_end()?;
        self.wait()
    }

    /// SIGTERM, then waits for its end, which must be in good order.
    pub fn end_in_order(&mut self) -> Result<()> {
        self.ask_to_end()?;
        self.ends_with(0).map(drop)
    }

    /// Waits for its end, which must be with this exit status. Everything that it wrote to standard
    /// error.
    pub fn ends_with(&mut self, code: i32) -> Result<String> {
        let (status, log) = (self.wait()?, self.log());
        ensure!(
            status.code() == Some(code),
            "{} ended with {status} rather than {code}:\n{log}",
            self.name()
        );
        Ok(log)
    }

    /// SIGTERM, without waiting for its end.
    pub fn ask_to_end(&self) -> Result<()> {
        Ok(self.inner.signal(Signal::TERM)?)
    }

    /// SIGSTOP: when this returns it does nothing more, and its connections stay open.
    pub fn halt(&self) -> Result<()> {
        self.inner.signal(Signal::STOP)?;
        let begin = Instant::now();
        while !self.inner.is_halted() {
            ensure!(begin.elapsed() < DEADLINE, "{} does not halt", self.name());
            std::thread::sleep(Duration::from_millis(1)); // between looks
        }
        Ok(())
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub fn resume(&self) -> Result<()> {
        Ok(self.inner.signal(Signal::CONT)?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.inner.ended()?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.inner.wait(DEADLINE)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name(), self.log());
        }
    }
}
