//! Members of etcd as child processes that do not outlive the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_etcd::{Cluster, Environment, Options, Session, Target, Uri};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it: far more than it should.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const INSTALL: &str = "this test needs etcd, etcdctl and setpriv: ./test installs what the tests \
                       need, and runs them";

/// A child that is killed when dropped, also by a panic, and when the test is killed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // has ended
        let _ = self.0.wait();
    }
}

/// One member, which can be killed, halted and started again at the same address.
pub(crate) struct Member {
    process: Option<Killed>,
    directory: TempDir,
    arguments: Vec<String>,
    pub(crate) port: u16,
    scheme: &'static str,
}

impl Member {
    /// A cluster of one.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_with(arguments, "http")
    }

    pub(crate) fn start_with(arguments: &[&str], scheme: &'static str) -> Result<Self> {
        // A port that is free now may be taken by the time that etcd binds it: then once more.
        for _ in 0..5 {
            let (port, peer) = (free_port()?, free_port()?);
            let url = format!("{scheme}://127.0.0.1:{port}");
            let peer = format!("http://127.0.0.1:{peer}");
            let mut all: Vec<String> = [
                ("--name", "m"),
                ("--listen-client-urls", &url),
                ("--advertise-client-urls", &url),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &format!("m={peer}")),
            ]
            .iter()
            .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
            .collect();
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            let mut member = Self {
                process: None,
                directory: tempfile::tempdir()?,
                arguments: all,
                port,
                scheme,
            };
            if member.restart()? {
                return Ok(member);
            }
            let log = member.log()?;
            ensure!(log.contains("address already in use"), "{INSTALL}: {log}");
        }
        bail!("no port stays free")
    }

    /// Three members; each begins alone, so only the peers' ports matter.
    pub(crate) fn three() -> Result<Vec<Self>> {
        let ports: Vec<(u16, u16)> = (0..3)
            .map(|_| Ok((free_port()?, free_port()?)))
            .collect::<Result<_>>()?;
        let peer = |at: usize| format!("http://127.0.0.1:{}", ports[at].1);
        let cluster = (0..3).map(|at| format!("m{at}={}", peer(at)));
        let cluster = cluster.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (at, (port, _)) in ports.iter().enumerate() {
            let url = format!("http://127.0.0.1:{port}");
            let arguments = [
                "--name",
                &format!("m{at}"),
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
                "--listen-peer-urls",
                &peer(at),
                "--initial-advertise-peer-urls",
                &peer(at),
                "--initial-cluster",
                &cluster,
            ]
            .map(str::to_owned)
            .to_vec();
            let mut member = Self {
                process: None,
                directory: tempfile::tempdir()?,
                arguments,
                port: *port,
                scheme: "http",
            };
            member.spawn()?;
            members.push(member);
        }
        for member in &mut members {
            ensure!(member.becomes_ready()?, "{}", member.log()?);
        }
        Ok(members)
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    fn spawn(&mut self) -> Result<()> {
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "etcd", "--data-dir"])
            .arg(self.directory.path().join("data"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.directory.path().join("log"))?)
            .spawn()
            .context(INSTALL)?;
        self.process = Some(Killed(process));
        Ok(())
    }

    /// Starts it with the data that it has; says whether it runs.
    pub(crate) fn restart(&mut self) -> Result<bool> {
        self.spawn()?;
        self.becomes_ready()
    }

    fn becomes_ready(&mut self) -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            let process = self.process.as_mut().context("was killed")?;
            if process.0.try_wait()?.is_some() {
                return Ok(false);
            }
            if self.log()?.contains("ready to serve client requests") {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20)); // between looks
        }
        bail!("etcd is not ready after {DEADLINE:?}")
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("was killed")?;
        let id = Pid::from_child(&process.0);
        kill_process(id, signal)?;
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

    /// Runs etcd's own tool.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([
                "--endpoints",
                &format!("{}://127.0.0.1:{}", self.scheme, self.port),
            ])
            .args(arguments)
            .output()
            .context(INSTALL)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn uri(&self) -> String {
        format!("etcd:{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(crate) async fn session(&self) -> Result<Session> {
        Ok(
            cluster(&self.uri(), &Environment::default(), Options::default())?
                .open()
                .await?,
        )
    }
}

pub(crate) fn cluster(uri: &str, environment: &Environment, options: Options) -> Result<Cluster> {
    let uri: Uri = uri.parse()?;
    Ok(Cluster::new(Target::new(&uri, environment)?, options))
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether all threads of a process are halted.
fn is_halted(id: u32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit(')').next().unwrap_or_default();
        if !state.trim_start().starts_with('T') {
            return Ok(false);
        }
    }
    Ok(true)
}
