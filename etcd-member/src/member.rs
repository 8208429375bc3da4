//! Members of a cluster, as many as a test wants.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::process::{INSTALL, Killed, command, is_halted, program, spawn};

/// How long anything may take before a test gives up on it: far more than it should.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often a cluster is started on other ports when a port was taken.
const ATTEMPTS: usize = 5;

/// One member, which can be killed, halted, wiped and started again at the same address.
#[derive(Debug)]
pub struct Member {
    process: Option<Killed>,
    directory: TempDir,
    arguments: Vec<String>,
    port: u16,
    scheme: &'static str,
}

impl Member {
    /// A cluster of one.
    ///
    /// # Errors
    /// With what etcd said; and how to install it where it is missing.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::one(arguments, "http")
    }

    /// A cluster of one that speaks TLS, and wants a certificate of its clients.
    ///
    /// # Errors
    /// As [`Member::start`].
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        let arguments = certificates.of_a_member();
        let arguments: Vec<&str> = arguments.iter().map(|flag| &**flag).collect();
        Self::one(&arguments, "https")
    }

    fn one(arguments: &[&str], scheme: &'static str) -> Result<Self> {
        let one = Self::started(1, arguments, scheme)?.pop();
        one.context("a cluster of one has one member")
    }

    /// A cluster of `count`, all of which are ready.
    ///
    /// # Errors
    /// As [`Member::start`].
    pub fn cluster(count: usize, arguments: &[&str]) -> Result<Vec<Self>> {
        Self::started(count, arguments, "http")
    }

    fn started(count: usize, arguments: &[&str], scheme: &'static str) -> Result<Vec<Self>> {
        // A port that is free now may be taken by the time that etcd binds it: then once more.
        for _ in 0..ATTEMPTS {
            let mut members = Self::stopped(count, arguments, scheme)?;
            if Self::start_all(&mut members)? {
                return Ok(members);
            }
            for member in &members {
                let log = member.log()?;
                let ended = member.process.is_none();
                ensure!(
                    !ended || log.contains("address already in use"),
                    "{INSTALL}: {log}"
                );
            }
        }
        bail!("no port stays free")
    }

    fn stopped(count: usize, arguments: &[&str], scheme: &'static str) -> Result<Vec<Self>> {
        let ports: Vec<(u16, u16)> = (0..count)
            .map(|_| Ok((free_port()?, free_port()?)))
            .collect::<Result<_>>()?;
        let peer = |at: usize| format!("http://127.0.0.1:{}", ports[at].1);
        let cluster = (0..count).map(|at| format!("m{at}={}", peer(at)));
        let cluster = cluster.collect::<Vec<_>>().join(",");
        let member = |(at, (port, _)): (usize, &(u16, u16))| {
            let (client, peer) = (format!("{scheme}://127.0.0.1:{port}"), peer(at));
            let own = [
                ("--name", &format!("m{at}")),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster),
            ];
            let own = own.iter().flat_map(|(name, value)| [*name, value.as_str()]);
            Ok(Self {
                process: None,
                directory: tempfile::tempdir()?,
                arguments: own
                    .chain(arguments.iter().copied())
                    .map(str::to_owned)
                    .collect(),
                port: *port,
                scheme,
            })
        };
        ports.iter().enumerate().map(member).collect()
    }

    /// Starts them side by side, with the data that they have: a member of several is ready only
    /// when most are. Says whether all of them run.
    ///
    /// # Errors
    /// If one does not become ready.
    pub fn start_all(members: &mut [Self]) -> Result<bool> {
        for member in &mut *members {
            member.spawn()?;
        }
        let mut all = true;
        for member in members {
            all &= member.becomes_ready()?;
        }
        Ok(all)
    }

    /// Starts it with the data that it has; says whether it runs.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn restart(&mut self) -> Result<bool> {
        self.spawn()?;
        self.becomes_ready()
    }

    fn spawn(&mut self) -> Result<()> {
        self.process = None;
        let log = self.directory.path().join("log");
        self.process = Some(spawn(&self.data(), &self.arguments, &log)?);
        Ok(())
    }

    fn becomes_ready(&mut self) -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            let process = self.process.as_mut().context("was killed")?;
            if process.0.try_wait()?.is_some() {
                self.process = None;
                return Ok(false);
            }
            if self.log()?.contains("ready to serve client requests") {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20)); // between looks
        }
        bail!("etcd is not ready after {DEADLINE:?}: {}", self.log()?)
    }

    /// What it said since its last start.
    ///
    /// # Errors
    /// If it was never started.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// SIGKILL, if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGKILL, and all that it had is gone: the next start is its first.
    ///
    /// # Errors
    /// If its data cannot be deleted.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill();
        Ok(fs::remove_dir_all(self.data())?)
    }

    /// SIGKILL, and its data become those of a snapshot, as etcd's own tool restores it. Does not
    /// start it.
    ///
    /// # Errors
    /// With what the tool said.
    pub fn restore(&mut self, snapshot: &Path) -> Result<()> {
        self.wipe()?;
        let own = [
            "--name",
            "--initial-cluster",
            "--initial-advertise-peer-urls",
        ];
        let pairs = self.arguments.chunks(2);
        let pairs = pairs
            .filter(|pair| own.contains(&pair[0].as_str()))
            .flatten();
        let output = command(program("etcdctl"))
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .arg("--data-dir")
            .arg(self.data())
            .args(pairs)
            .output()
            .context(INSTALL)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        Ok(())
    }

    /// SIGKILL, and a new member with an empty directory takes its place and its addresses; `other`
    /// is asked to let it in, and has to have a majority without it.
    ///
    /// # Errors
    /// With what the tool said; if it does not become ready.
    pub fn replace(&mut self, other: &Self) -> Result<()> {
        self.wipe()?;
        let argument = |name: &str| {
            let mut pairs = self.arguments.chunks(2);
            let pair = pairs.find(|pair| pair[0] == name);
            pair.map(|pair| pair[1].clone()).context("a member has it")
        };
        let (name, url) = (
            argument("--name")?,
            argument("--initial-advertise-peer-urls")?,
        );
        let list = other.etcdctl(&["member", "list"])?;
        let line = list.lines().find(|line| line.contains(&url));
        let id = line.and_then(|line| line.split(',').next());
        let id = id.context("the cluster has this member")?;
        other.etcdctl_until_done(&["member", "remove", id])?;
        other.etcdctl_until_done(&["member", "add", &name, &format!("--peer-urls={url}")])?;
        let joins = ["--initial-cluster-state", "existing"].map(str::to_owned);
        self.arguments.extend(joins);
        ensure!(self.restart()?, "it does not start");
        Ok(())
    }

    /// As often as a cluster that elects a leader, or waits for members, refuses.
    fn etcdctl_until_done(&self, arguments: &[&str]) -> Result<String> {
        let begin = Instant::now();
        loop {
            match self.etcdctl(arguments) {
                Err(_) if begin.elapsed() < DEADLINE => {
                    std::thread::sleep(Duration::from_millis(100)); // between tries
                }
                answer => return answer,
            }
        }
    }

    /// Where its data are. Whole only while it is down.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Sends a signal; SIGSTOP has taken effect when this returns.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("was killed")?;
        kill_process(Pid::from_child(&process.0), signal)?;
        if signal == Signal::STOP {
            // A thread may go on for a moment.
            let begin = Instant::now();
            while !is_halted(process.0.id())? {
                ensure!(begin.elapsed() < DEADLINE, "etcd does not halt");
                std::thread::sleep(Duration::from_millis(5)); // between looks
            }
        }
        Ok(())
    }

    /// Runs etcd's own tool against it.
    ///
    /// # Errors
    /// With what the tool said.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let url = format!("{}://127.0.0.1:{}", self.scheme, self.port);
        let output = command(program("etcdctl"))
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &url])
            .args(arguments)
            .output()
            .context(INSTALL)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// From here on everybody has to log in: `root` (password `hush`), or `ada` (`secret`), who may
    /// write below `app/` and read what persisters say. `flags` of etcdctl come first.
    ///
    /// # Errors
    /// With what the tool said.
    pub fn ask_for_users(&self, flags: &[&str]) -> Result<()> {
        for command in [
            "user add root:hush",
            "user grant-role root root",
            "user add ada:secret",
            "role add app",
            "role grant-permission app --prefix=true readwrite app/",
            "role grant-permission app --prefix=true read /ctl/persistence/",
            "user grant-role ada app",
            "auth enable",
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            self.etcdctl(&[flags, &words].concat()).context(command)?;
        }
        Ok(())
    }

    /// Where clients reach it, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its own URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("etcd:{}://127.0.0.1:{}", self.scheme, self.port)
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
