//! A playground that runs, and requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::processes::processes_in;

/// How long anything may take before a test gives up on it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn cairn() -> PathBuf {
    env!("CARGO_BIN_EXE_cairn").into()
}

/// A playground.
pub(crate) struct Playground {
    pub(crate) child: Child,
    pub(crate) cache: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) key: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }

    /// The body of an answer that is good news.
    pub(crate) fn good(self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }
}

impl Playground {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&["--listen", "127.0.0.1:0"])
    }

    pub(crate) fn start_with(args: &[&str]) -> Result<Self> {
        let cache = tempfile::tempdir()?;
        let mut child = Command::new(cairn())
            .args(["playground", "--no-open"])
            .args(args)
            .env("XDG_CACHE_HOME", cache.path().canonicalize()?)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("it is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let link = line
            .split("http://")
            .nth(1)
            .context("it says where it is")?;
        let (address, key) = link.trim().split_once("/#").context("with a key")?;
        Ok(Self {
            child,
            cache,
            address: address.to_owned(),
            key: key.to_owned(),
        })
    }

    /// One whose processes all serve.
    pub(crate) fn ready() -> Result<(Self, Page)> {
        Self::start()?.when_ready()
    }

    pub(crate) fn when_ready(self) -> Result<(Self, Page)> {
        let playground = self;
        let mut page = playground.page()?;
        page.until("everything runs", |state| {
            let says = state["story"]["says"].as_str().unwrap_or_default();
            state["busy"].is_null() && says.starts_with("All is well")
        })?;
        Ok((playground, page))
    }

    /// Sends a request with these headers and no others, and reads the answer.
    pub(crate) fn raw(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        // Of HTTP 1.0 an answer ends with its connection, a stream's too.
        let mut request = format!("{line} HTTP/1.0\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        Ok(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    fn ask(&self, line: &str, body: &str) -> Result<Answer> {
        let key = format!("Bearer {}", self.key);
        let headers = [
            ("host", self.address.as_str()),
            ("authorization", &key),
            ("content-type", "application/json"),
        ];
        self.raw(line, &headers, body)
    }

    pub(crate) fn get(&self, call: &str) -> Result<Answer> {
        self.ask(&format!("GET /api/{call}"), "")
    }

    pub(crate) fn post(&self, call: &str, body: &Value) -> Result<Answer> {
        self.ask(&format!("POST /api/{call}"), &body.to_string())
    }

    /// Begins a command, and gives its number.
    pub(crate) fn act(&self, action: &Value) -> Result<u64> {
        let begun = self.post("do", action)?.good()?;
        begun["op"].as_u64().context("a number")
    }

    pub(crate) fn write(&self, key: &str, value: Option<&str>) -> Result<Value> {
        let body = json!({"key": key, "value": value, "wait": "all"});
        self.post("write", &body)?.good()
    }

    /// Opens the event stream.
    pub(crate) fn page(&self) -> Result<Page> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(
            stream,
            "GET /api/events HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
            self.address, self.key
        )?;
        Ok(Page(BufReader::new(stream)))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status()?;
        ensure!(sent.success());
        Ok(())
    }

    pub(crate) fn ended(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < DEADLINE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes that it has started.
    pub(crate) fn children(&self) -> Result<Vec<u32>> {
        processes_in(&self.cache.path().canonicalize()?)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open event stream.
pub(crate) struct Page(BufReader<TcpStream>);

impl Page {
    /// The next event, and its data.
    pub(crate) fn next(&mut self) -> Result<(String, Value)> {
        let (mut event, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            ensure!(self.0.read_line(&mut line)? > 0, "the stream has ended");
            if let Some(name) = line.strip_prefix("event: ") {
                name.trim().clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Ok((event, serde_json::from_str(data)?));
            }
        }
    }

    /// Waits for a state.
    pub(crate) fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let begun = Instant::now();
        let mut last = Value::Null;
        while begun.elapsed() < DEADLINE {
            let (event, data) = self.next()?;
            // Before the first look there is nothing to see.
            if event == "state" && data.get("run").is_some() {
                if is_it(&data) {
                    return Ok(data);
                }
                last = data;
            }
        }
        bail!("{what}: not within {DEADLINE:?}; the last state: {last}")
    }

    /// Waits for the end of a command that must succeed.
    pub(crate) fn done(&mut self, op: u64) -> Result<String> {
        loop {
            let (event, data) = self.next()?;
            if event == "done" && data["op"] == op {
                ensure!(data["ok"] == true, "{data}");
                return Ok(data["says"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
}
