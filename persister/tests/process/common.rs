//! What the tests of the process share.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_client::{Client, Revision};
use cairn_protocol::progress::parse_revision;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// With nothing of the developer's environment that would change what it does.
pub(crate) fn persister(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_persister"));
    clean(&mut command);
    command.args(args).stdin(Stdio::null());
    command
}

fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CAIRN_") || name.starts_with("DOOZER_") {
            command.env_remove(&*name);
        }
    }
}

/// Waits for its end.
pub(crate) fn end(child: &mut Child) -> Option<i32> {
    wait_for(|| child.try_wait().unwrap()).code()
}

pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "nothing within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a file that ends like this is in the directory.
pub(crate) fn has(dir: &Path, ending: &str) -> Option<()> {
    let mut names = fs::read_dir(dir).ok()?.flatten();
    names
        .any(|entry| entry.file_name().to_string_lossy().ends_with(ending))
        .then_some(())
}

/// A node in this process, until it is dropped.
pub(crate) struct Node {
    pub(crate) uri: String,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(cairn_lite::Options::default())
    }

    pub(crate) fn with(options: cairn_lite::Options) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let uri = format!("doozer:?ca={}", listener.local_addr().unwrap());
        let server = cairn_lite::Server::new(options).unwrap();
        runtime.spawn(server.run(listener, std::future::pending()));
        Self { uri, runtime }
    }

    pub(crate) fn value(&self, path: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            let uri: cairn_client::Uri = self.uri.parse().unwrap();
            let client = cairn_client::Client::connect(&uri).await.unwrap();
            let file = client.get(path, None).await.unwrap();
            file.map(|file| file.value.to_vec())
        })
    }
}

/// A persister with an embedded cluster, killed when it is dropped.
pub(crate) struct Embedded {
    pub(crate) child: Child,
    pub(crate) uri: String,
    pub(crate) log: std::path::PathBuf,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
    pub(crate) journal: std::path::PathBuf,
}

impl Embedded {
    /// Starts it with these arguments, through this shell command if one is given.
    pub(crate) fn start(args: &[&str], shell: Option<&str>) -> Self {
        Self::start_with(args, shell, |_| {})
    }

    pub(crate) fn start_with(
        args: &[&str],
        shell: Option<&str>,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, log) = (dir.path().join("j"), dir.path().join("log"));
        let mut command = match shell {
            None => persister(&[]),
            Some(before) => {
                let mut sh = Command::new("sh");
                sh.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]);
                sh.arg(env!("CARGO_BIN_EXE_persister"));
                clean(&mut sh);
                sh
            }
        };
        command
            .args(["--id", "1", "--embedded", "-l", "localhost:0", "-j"])
            .arg(&journal)
            .args(args)
            .stderr(fs::File::create(&log).unwrap());
        more(&mut command);
        let mut started = Self {
            child: command.spawn().unwrap(),
            uri: String::new(),
            log,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            _dir: dir,
            journal,
        };
        started.uri = match started.child.stderr.as_mut() {
            None => started.said("DOOZER_URI='", "'"),
            Some(log) => first_said(log, "DOOZER_URI='", "'"),
        };
        started
    }

    /// What the log has between these, once it is there.
    pub(crate) fn said(&self, before: &str, after: &str) -> String {
        wait_for(|| {
            let log = self.told();
            assert!(!log.contains("persister: "), "{log}");
            let (_, rest) = log.split_once(before)?;
            Some(rest.split_once(after)?.0.to_owned())
        })
    }

    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn ends_with(&mut self, status: i32) {
        assert_eq!(end(&mut self.child), Some(status), "{}", self.told());
    }

    /// A client with one connection.
    pub(crate) fn client(&self) -> Client {
        self.runtime.block_on(async {
            let uri: cairn_client::Uri = self.uri.parse().unwrap();
            Client::connect(&uri).await.unwrap()
        })
    }

    /// Writes a key, in a session of its own, and waits until that is said to be on disk.
    pub(crate) fn set(&self, path: &str, value: &[u8]) {
        self.set_with(&self.client(), path, value);
    }

    pub(crate) fn set_with(&self, client: &Client, path: &str, value: &[u8]) {
        let written = self.write(client, path, value);
        self.runtime.block_on(async {
            let deadline = Instant::now() + DEADLINE;
            loop {
                let said = client.get(&cairn_protocol::keys::watermark(1), None).await;
                let said = said.unwrap().map(|said| parse_revision(&said.value));
                if said.is_some_and(|said| said.is_ok_and(|said| said >= written)) {
                    return;
                }
                assert!(Instant::now() < deadline, "{}", self.told());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    /// Writes a key; its revision.
    pub(crate) fn write(&self, client: &Client, path: &str, value: &[u8]) -> i64 {
        let set = client.set(path, Revision::ANY, value.to_vec());
        self.runtime.block_on(set).unwrap().0
    }
}

/// Reads so much and no more.
fn first_said(log: &mut impl std::io::Read, before: &str, after: &str) -> String {
    let mut read = String::new();
    loop {
        if let Some((_, rest)) = read.split_once(before)
            && let Some((found, _)) = rest.split_once(after)
        {
            return found.to_owned();
        }
        let mut byte = [0];
        log.read_exact(&mut byte).unwrap();
        read.push(char::from(byte[0]));
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
