//! One member of etcd as a child process, and the few calls that the tests make, through its own
//! JSON gateway.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use cairn_etcd_snapshot::{Lease, Put, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it: far more than it should.
const DEADLINE: Duration = Duration::from_secs(60);

const INSTALL: &str = "install the Debian packages etcd-server and etcd-client \
                       (apt-get install etcd-server etcd-client); ./test does";

/// A member of a cluster of one; killed when dropped.
pub(crate) struct Member {
    _process: Killed,
    agent: ureq::Agent,
    url: String,
    directory: TempDir,
}

/// A child that does not outlive the test, whether that ends well or not.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // has ended
        let _ = self.0.wait();
    }
}

impl Member {
    /// A new cluster.
    pub(crate) fn empty() -> Result<Self> {
        Self::start(tempfile::tempdir()?)
    }

    /// A cluster that etcd's own tool restores from a snapshot.
    pub(crate) fn restored(snapshot: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("etcdctl");
        command.args(["snapshot", "restore"]).arg(snapshot);
        etcdctl(command.arg("--data-dir").arg(data(&directory)))?;
        Self::start(directory)
    }

    fn start(directory: TempDir) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_recv_response(Some(DEADLINE))
            .build()
            .new_agent();
        let log = directory.path().join("log");
        // A port that is free now may be taken by the time that etcd binds it: then once more.
        for _ in 0..5 {
            let url = format!("http://127.0.0.1:{}", free_port()?);
            let peer = format!("http://127.0.0.1:{}", free_port()?);
            // setpriv: a test that is killed takes its member with it.
            let mut process = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "etcd", "--data-dir"])
                .arg(data(&directory))
                .args(["--listen-client-urls", &url, "--listen-peer-urls", &peer])
                .args(["--advertise-client-urls", &url])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(&log)?)
                .spawn()
                .map(Killed)
                .context("setpriv, of the Debian package util-linux")?;
            if becomes_ready(&agent, &url, &mut process)? {
                return Ok(Self {
                    _process: process,
                    agent,
                    url,
                    directory,
                });
            }
            let said = std::fs::read_to_string(&log)?;
            ensure!(
                said.contains("address already in use"),
                "{INSTALL}. It said:\n{said}"
            );
        }
        bail!("no port stays free")
    }

    /// A snapshot, taken by etcd's own tool.
    pub(crate) fn save(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        let mut command = Command::new("etcdctl");
        command.args(["--endpoints", &self.url, "snapshot", "save"]);
        etcdctl(command.arg(&path))?;
        Ok(path)
    }

    /// A snapshot as the stream of `Maintenance.Snapshot`.
    pub(crate) fn stream_snapshot(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for message in self.stream("maintenance/snapshot", &json!({}))? {
            bytes.extend(blob(&message?["result"]["blob"])?);
        }
        Ok(bytes)
    }

    /// One call.
    pub(crate) fn call(&self, method: &str, request: &Value) -> Result<Value> {
        let url = format!("{}/v3/{method}", self.url);
        let mut response = self.agent.post(url).send(request.to_string())?;
        let status = response.status();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()?;
        ensure!(status.is_success(), "{method}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// One call that is answered by a stream, an object a line.
    fn stream(
        &self,
        method: &str,
        request: &Value,
    ) -> Result<impl Iterator<Item = Result<Value>> + use<>> {
        let url = format!("{}/v3/{method}", self.url);
        let response = self.agent.post(url).send(request.to_string())?;
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        Ok(lines.map(|line| Ok(serde_json::from_str(&line?)?)))
    }

    /// The revision at which it stands.
    pub(crate) fn revision(&self) -> Result<i64> {
        let request = json!({"key": "AA==", "range_end": "AA==", "limit": 1});
        integer(&self.call("kv/range", &request)?["header"]["revision"])
    }

    /// Every key at a revision, with the revision of its newest put.
    pub(crate) fn keys_at(&self, revision: i64) -> Result<BTreeMap<Vec<u8>, (Put, i64)>> {
        let request = json!({"key": "AA==", "range_end": "AA==", "revision": revision});
        let answer = self.call("kv/range", &request)?;
        let all = answer["kvs"].as_array().into_iter().flatten();
        all.map(|kv| {
            let put = put(kv)?;
            Ok((put.key.to_vec(), (put, integer(&kv["mod_revision"])?)))
        })
        .collect()
    }

    /// What a watch of everything from one revision tells until another.
    pub(crate) fn watch(&self, from: i64, until: i64) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = Vec::new();
        if from > until {
            return Ok(records);
        }
        let create = json!({"key": "AA==", "range_end": "AA==", "start_revision": from});
        for message in self.stream("watch", &json!({"create_request": create}))? {
            let result = &message?["result"];
            ensure!(result["canceled"] != json!(true), "{result}");
            for event in result["events"].as_array().into_iter().flatten() {
                let kv = &event["kv"];
                let at = integer(&kv["mod_revision"])?;
                let sub = match records.last() {
                    Some(last) if last.at.revision == at => last.at.sub + 1,
                    _ => 0,
                };
                records.push(if event["type"] == json!("DELETE") {
                    Record::delete(at, sub, blob(&kv["key"])?)
                } else {
                    Record::put(at, sub, put(kv)?)
                });
            }
            // A revision is never split over messages.
            if records.last().is_some_and(|last| last.at.revision >= until) {
                break;
            }
        }
        Ok(records)
    }

    /// Its HashKV at a revision; 0 is its newest.
    pub(crate) fn hash_kv(&self, revision: i64) -> Result<u32> {
        // The gateway has only the hash of the whole database.
        let mut command = Command::new("etcdctl");
        command.args(["--endpoints", &self.url, "endpoint", "hashkv", "-w", "json"]);
        let said = etcdctl(command.args(["--rev", &revision.to_string()]))?;
        let answer: Value = serde_json::from_str(&said)?;
        Ok(u32::try_from(integer(&answer[0]["HashKV"]["hash"])?)?)
    }

    /// Its leases, with what remains of them as it would after a start.
    pub(crate) fn leases(&self) -> Result<Vec<Lease>> {
        let answer = self.call("lease/leases", &json!({}))?;
        let mut leases = Vec::new();
        for lease in answer["leases"].as_array().into_iter().flatten() {
            let id = integer(&lease["ID"])?;
            let answer = self.call("lease/timetolive", &json!({"ID": id}))?;
            leases.push(Lease {
                id,
                ttl: integer(&answer["grantedTTL"])?,
                remaining_ttl: 0,
            });
        }
        leases.sort_by_key(|lease| lease.id);
        Ok(leases)
    }

    /// The keys that are attached to a lease, in order.
    pub(crate) fn keys_of_lease(&self, id: i64) -> Result<Vec<Vec<u8>>> {
        let answer = self.call("lease/timetolive", &json!({"ID": id, "keys": true}))?;
        let keys = answer["keys"].as_array().into_iter().flatten();
        let mut keys: Vec<Vec<u8>> = keys.map(blob).collect::<Result<_>>()?;
        keys.sort();
        Ok(keys)
    }
}

/// Runs etcd's tool and returns what it said.
pub(crate) fn etcdctl(command: &mut Command) -> Result<String> {
    let output = command.env("ETCDCTL_API", "3").output().context(INSTALL)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// What a record's change looks like in a request of the gateway.
pub(crate) fn text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn becomes_ready(agent: &ureq::Agent, url: &str, process: &mut Killed) -> Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if process.0.try_wait()?.is_some() {
            return Ok(false);
        }
        let health = agent.get(format!("{url}/health")).call();
        if health.is_ok_and(|response| response.status().is_success()) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20)); // between looks
    }
    bail!("etcd is not ready after {DEADLINE:?}")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

fn put(kv: &Value) -> Result<Put> {
    Ok(Put {
        key: blob(&kv["key"])?.into(),
        value: blob(&kv["value"])?.into(),
        create_revision: integer(&kv["create_revision"])?,
        version: integer(&kv["version"])?,
        lease: integer(&kv["lease"])?,
    })
}

/// Bytes are base64; none are left out.
fn blob(value: &Value) -> Result<Vec<u8>> {
    Ok(BASE64_STANDARD.decode(value.as_str().unwrap_or_default())?)
}

/// 64-bit integers are strings, 32-bit ones numbers; a zero is left out.
fn integer(value: &Value) -> Result<i64> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.parse()?),
        other => other
            .as_i64()
            .with_context(|| format!("{other} is no integer")),
    }
}
