//! One child process, its output, and its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::programs::program;

/// How long anything may take before a test gives up on it: far more than it should.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A child process; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: NamedTempFile,
}

impl Process {
    /// Starts one of the workspace's programs.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut command = Command::new(program(name)?);
        command.args(args);
        Self::spawn(name, command)
    }

    /// Starts any command.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let mut child = command
            // Whatever the developer has exported, a test talks to its own cluster.
            .env_remove("DOOZER_URI")
            .env_remove("DOOZER_BOOT_URI")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen()?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout: BufReader::new(stdout),
            log,
        })
    }

    /// The next line of its standard output.
    pub fn line_on_stdout(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("{} said nothing and ended:\n{}", self.name, self.log());
        }
        Ok(line)
    }

    /// Everything that it wrote to standard error.
    pub fn log(&self) -> String {
        let mut text = String::new();
        match File::open(self.log.path()).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => text,
            Err(error) => format!("(its log cannot be read: {error})"),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no handler runs, no buffer is flushed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
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

    /// Waits for its end, which must be with this exit status. Everything that it wrote to standard error.
    pub fn ends_with(&mut self, code: i32) -> Result<String> {
        let (status, log) = (self.wait()?, self.log());
        ensure!(
            status.code() == Some(code),
            "{} ended with {status} rather than {code}:\n{log}",
            self.name
        );
        Ok(log)
    }

    /// SIGTERM, without waiting for its end.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal("-TERM")
    }

    /// SIGSTOP: it does nothing more, and its connections stay open.
    pub fn halt(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status()?;
        if !sent.success() {
            bail!("cannot signal {}", self.name);
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > DEADLINE {
                bail!(
                    "{} has not ended within {DEADLINE:?}:\n{}",
                    self.name,
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name, self.log());
        }
    }
}
