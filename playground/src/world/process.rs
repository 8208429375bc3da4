//! One child: started behind the guard, signalled and waited for by a descriptor that names it
//! alone.
//!
//! A process id is given to another process once its own has been waited for, so signals go through
//! a pidfd. Dropping a [`Process`] kills it and all of its process group, and waits for it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::world::error::{Error, Result};
use crate::world::guard::GUARD;
use crate::world::nursery;

/// How much of a log an error repeats.
const LOG_TAIL: u64 = 4 << 10;

/// Prefixes of environment variables that a child does not inherit: a world talks to its own
/// clusters, whatever the developer has exported.
const NOT_INHERITED: [&str; 4] = ["CAIRN_", "DOOZER_", "ETCD_", "ETCDCTL_"];

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What people call it.
    pub name: String,
    /// The program, and its first arguments where it is one of several in a binary.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What its environment has besides this program's.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: Option<PathBuf>,
    /// Where standard error goes, and standard output if it is not piped. Appended to.
    pub log: PathBuf,
    /// Whether standard output is for [`Process::take_stdout`].
    pub pipe_stdout: bool,
    /// Whether standard input is for [`Process::take_stdin`]; else it is empty.
    pub pipe_stdin: bool,
}

impl Launch {
    /// A program without arguments, whose output goes to `log`.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<OsString>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            log: log.into(),
            pipe_stdout: false,
            pipe_stdin: false,
        }
    }

    /// What a command says: its program, arguments, variables and directory. Its output goes to
    /// `log`.
    pub fn of(name: impl Into<String>, command: &Command, log: impl Into<PathBuf>) -> Self {
        let set = |(name, value): (&OsStr, Option<&OsStr>)| Some((name.into(), value?.into()));
        Self {
            env: command.get_envs().filter_map(set).collect(),
            directory: command.get_current_dir().map(Path::to_owned),
            ..Self::new(name, command.get_program(), log).args(command.get_args())
        }
    }

    /// Further arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The command as a person would type it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        let words: Vec<String> = words.map(|word| quoted(word)).collect();
        words.join(" ")
    }

    fn command(&self, guard: &Path) -> io::Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(guard);
        command
            .arg(GUARD)
            .arg(std::process::id().to_string())
            .arg(&self.program)
            .args(&self.args)
            // A Ctrl-C on the terminal is for this program, which ends its children in good order.
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if NOT_INHERITED.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(if self.pipe_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let stdout = if self.pipe_stdout {
            Stdio::piped()
        } else {
            log.try_clone()?.into()
        };
        command.stdout(stdout).stderr(log);
        Ok(command)
    }
}

/// A child. All methods may be called from any thread.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: u32,
    pidfd: OwnedFd,
    child: Mutex<Child>,
}

impl Process {
    /// Starts it. `guard` is the program that has the guard's subcommand: `cairn`.
    ///
    /// # Errors
    /// [`Error::Start`], with the system's reason.
    pub fn start(launch: &Launch, guard: &Path) -> Result<Self> {
        let cannot = |program: &OsStr, cause| Error::Start {
            name: launch.name.clone(),
            program: program.to_string_lossy().into_owned(),
            cause,
        };
        let command = launch
            .command(guard)
            .map_err(|cause| cannot(launch.log.as_os_str(), cause))?;
        let mut child =
            nursery::spawn(command).map_err(|cause| cannot(guard.as_os_str(), cause))?;
        let pid = child.id();
        let pidfd = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = pidfd.ok_or(rustix::io::Errno::SRCH);
        match pidfd.and_then(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => Ok(Self {
                name: launch.name.clone(),
                log: launch.log.clone(),
                pid,
                pidfd,
                child: Mutex::new(child),
            }),
            Err(error) => {
                // Not yet waited for, so the id is still its own.
                let _ = child.kill();
                let _ = child.wait();
                Err(cannot(&launch.program, error.into()))
            }
        }
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its standard output, once, if it was piped.
    #[must_use]
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.child().stdout.take()
    }

    /// Its standard input, once, if it was piped.
    #[must_use]
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.child().stdin.take()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to it alone. One that has ended takes no notice, and that is no error.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::Io {
                doing: format!("cannot signal {}", self.name),
                cause: error.into(),
            }),
        }
    }

    /// SIGKILL to it and to whatever it has started in its process group: no handler runs, no
    /// buffer is flushed. Does not wait.
    pub fn kill(&self) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            // It has not been waited for, and cannot be while we hold it: the group's id is its
            // own.
            if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            // Between fork and exec it may not have a group yet.
            let _ = child.kill();
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not tell.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().map_err(|cause| Error::Io {
            doing: format!("cannot look after {}", self.name),
            cause,
        })
    }

    /// Blocks until it has ended.
    ///
    /// # Errors
    /// [`Error::TooSlow`] with the end of its log after `limit`.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(self.too_slow("its end", limit));
            }
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            let timeout = Timespec::try_from(left).ok();
            // An interrupted wait is begun again; any other failure shows in `ended`.
            let _ = poll(&mut fds, timeout.as_ref());
        }
    }

    /// Waits until it has ended, for as long as that takes.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not tell.
    pub async fn end(&self) -> Result<ExitStatus> {
        let cannot = |cause| Error::Io {
            doing: format!("cannot wait for {}", self.name),
            cause,
        };
        // A descriptor of its own for every waiter: a poller knows each only once.
        let pidfd = self.pidfd.try_clone().map_err(cannot)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd never names another descriptor, and what replaces this is unsafe"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE).map_err(cannot)?;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            pidfd.readable().await.map_err(cannot)?.clear_ready();
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`Error::TooSlow`] with the end of its log after `limit`.
    pub async fn end_within(&self, limit: Duration) -> Result<ExitStatus> {
        let end = tokio::time::timeout(limit, self.end()).await;
        end.unwrap_or_else(|_| Err(self.too_slow("its end", limit)))
    }

    /// Whether it is stopped by SIGSTOP, as the kernel says. The signal reaches one thread first,
    /// and on a busy machine others go on until that one has had its turn: each of them counts.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        threads.is_ok_and(|threads| {
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat"));
                // The name in parentheses may itself have any of these characters; the state
                // follows the last.
                let state = stat.as_deref().ok().and_then(|stat| stat.rsplit_once(") "));
                state.is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
            })
        })
    }

    /// Everything that it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        match std::fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(its log cannot be read: {error})"),
        }
    }

    pub(super) fn too_slow(&self, step: &str, limit: Duration) -> Error {
        Error::TooSlow {
            name: self.name.clone(),
            step: step.to_owned(),
            limit,
            log: log_tail(&self.log),
        }
    }

    pub(super) fn ended_early(&self, status: ExitStatus) -> Error {
        Error::EndedEarly {
            name: self.name.clone(),
            status,
            log: log_tail(&self.log),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // Fails only if it has been waited for already.
        let _ = self.child().wait();
    }
}

/// The last lines of a log.
#[must_use]
pub fn log_tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => text,
        Err(error) => format!("(its log cannot be read: {error})"),
    }
}

/// A word of a command line as a shell would have to be given it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
