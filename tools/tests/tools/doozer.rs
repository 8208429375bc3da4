//! `doozer` against a server in this process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cairn_client::{Client, Revision, Uri};
use cairn_lite::{Options, Server};
use cairn_sync_client::keys;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::run::{code, command, run, stderr, stdout};

struct Cluster {
    runtime: Runtime,
    address: String,
}

impl Cluster {
    fn start() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(options).unwrap();
        runtime.spawn(server.run(listener, std::future::pending()));
        Self { runtime, address }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_doozer"));
        command
            .env("DOOZER_URI", format!("doozer:?ca={}", self.address))
            .args(args);
        command
    }

    fn doozer(&self, args: &[&str], body: &[u8]) -> Output {
        run(self.command(args), body)
    }

    /// What it prints when it succeeds.
    fn ok(&self, args: &[&str], body: &[u8]) -> String {
        let output = self.doozer(args, body);
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn fails(&self, args: &[&str], expected: i32) -> String {
        let output = self.doozer(args, b"x");
        assert_eq!(code(&output), expected, "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
        stderr(&output)
    }

    fn client(&self) -> Client {
        let uri: Uri = format!("doozer:?ca={}", self.address).parse().unwrap();
        self.runtime.block_on(Client::connect(&uri)).unwrap()
    }

    /// A command that goes on, and its output.
    fn start_reading(&self, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (child, out)
    }
}

#[test]
fn files_are_written_read_listed_and_deleted() {
    let cluster = Cluster::start();
    assert_eq!(cluster.ok(&["rev"], b""), "58\n");
    assert_eq!(cluster.ok(&["add", "/a/x"], b"one\n"), "59\n");
    assert_eq!(cluster.ok(&["get", "/a/x"], b""), "one\n");
    assert_eq!(cluster.ok(&["set", "/a/x", "59"], b"two"), "60\n");
    assert_eq!(cluster.ok(&["set", "/a/y", "-1"], b""), "61\n");
    assert_eq!(cluster.ok(&["get", "/a/x", "-r", "59"], b""), "one\n");
    assert_eq!(cluster.ok(&["get", "/a/y"], b""), "");
    assert_eq!(cluster.ok(&["stat", "/a/x"], b""), "60 3\n");
    assert_eq!(cluster.ok(&["stat", "/a"], b""), "d 2\n");
    assert_eq!(cluster.ok(&["stat", "/none"], b""), "0 0\n");
    assert_eq!(cluster.ok(&["find", "/a/*"], b""), "/a/x\n/a/y\n");
    assert_eq!(cluster.ok(&["find", "/a/*", "--rev", "60"], b""), "/a/x\n");
    assert_eq!(cluster.ok(&["del", "/a/x", "60"], b""), "");
    assert_eq!(cluster.ok(&["find", "/a/**"], b""), "/a/y\n");
    assert_eq!(cluster.ok(&["nop"], b""), "");
    assert_eq!(cluster.ok(&["rev"], b""), "63\n");
    assert!(cluster.ok(&["self"], b"").len() > 1);
}

#[test]
fn touch_keeps_the_body_or_creates_an_empty_file() {
    let cluster = Cluster::start();
    cluster.ok(&["add", "/a"], b"body\xff");
    assert_eq!(cluster.ok(&["touch", "/a"], b""), "60\n");
    assert_eq!(cluster.doozer(&["get", "/a"], b"").stdout, b"body\xff");
    assert_eq!(cluster.ok(&["touch", "/new"], b""), "61\n");
    assert_eq!(cluster.ok(&["stat", "/new"], b""), "61 0\n");
}

#[test]
fn exit_codes_tell_a_mismatch_from_everything_else() {
    let cluster = Cluster::start();
    cluster.ok(&["add", "/a"], b"x");
    cluster.fails(&["add", "/a"], 1);
    cluster.fails(&["set", "/a", "1"], 1);
    cluster.fails(&["del", "/a", "0"], 1);
    let told = cluster.fails(&["get", "/none"], 2);
    assert!(told.contains("/none: no such file"), "{told}");
    let told = cluster.fails(&["get", ""], 2);
    assert!(told.contains("path \"\" must start with '/'"), "{told}");
    cluster.fails(&["set", "/a_b", "-1"], 2);
    cluster.fails(&["set", "/a/below", "-1"], 2);
    cluster.fails(&["find", "["], 2);
    for usage in [
        &["frobnicate"][..],
        &["set", "/a"],
        &["set", "/a", "x"],
        &[],
        &["rev", "--timeout", "5"],
    ] {
        cluster.fails(usage, 2);
    }
    let told = cluster.fails(&["-a", "127.0.0.1:1", "rev"], 2);
    assert!(told.contains("127.0.0.1:1"), "{told}");
}

#[test]
fn help_teaches() {
    let cluster = Cluster::start();
    let help = cluster.ok(&["--help"], b"");
    for part in ["Examples:", "Exit codes:", "--sync", "revision mismatch"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(
        cluster
            .ok(&["completions", "bash"], b"")
            .contains("_doozer")
    );
}

#[test]
fn the_environment_and_the_option_name_the_cluster() {
    let cluster = Cluster::with(Options {
        secret_rw: Some("sesame".into()),
        ..Options::default()
    });
    cluster.fails(&["set", "/a", "-1"], 2);
    let uri = format!("doozer:?ca={}&sk=sesame", cluster.address);
    assert_eq!(cluster.ok(&["set", "/a", "-1", "-a", &uri], b""), "59\n");
    let mut from_env = command(env!("CARGO_BIN_EXE_doozer"));
    from_env.env("DOOZER_URI", &uri).args(["set", "/a", "59"]);
    assert_eq!(stdout(&run(from_env, b"")), "60\n");
}

#[test]
fn watch_prints_records_as_they_happen_and_ends_with_its_reader() {
    let cluster = Cluster::start();
    let (mut child, mut out) = cluster.start_reading(&["watch", "/a/*", "-r", "1"]);
    let mut read = |expected: &str| {
        let mut text = vec![0; expected.len()];
        out.read_exact(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    };
    cluster.ok(&["set", "/a/x", "-1"], b"two\nlines");
    read("/a/x 59 set 9\ntwo\nlines\n");
    cluster.ok(&["nop"], b"");
    cluster.ok(&["set", "/b", "-1"], b"");
    cluster.ok(&["del", "/a/x", "-1"], b"");
    read("/a/x 62 del 0\n\n");
    drop(out);
    cluster.ok(&["set", "/a/x", "-1"], b"more");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wait_prints_the_first_change_and_ends() {
    let cluster = Cluster::start();
    cluster.ok(&["nop"], b"");
    cluster.ok(&["set", "/a", "-1"], b"x");
    assert_eq!(
        cluster.ok(&["wait", "/**", "-r", "59"], b""),
        "/a 60 set 1\nx\n"
    );
    let told = cluster.fails(&["wait", "/never", "--timeout", "50ms"], 2);
    assert!(told.contains("/never"), "{told}");
}

#[test]
fn json_is_for_programs() {
    let cluster = Cluster::start();
    let json = |args: &[&str], body: &[u8]| -> Value {
        serde_json::from_str(&cluster.ok(args, body)).unwrap()
    };
    let set = json(&["--json", "set", "/a", "-1"], b"x\ny");
    assert_eq!(
        set,
        serde_json::json!({"path": "/a", "rev": 59, "durable": false})
    );
    let get = json(&["get", "/a", "--json"], b"");
    assert_eq!(
        get,
        serde_json::json!({"path": "/a", "rev": 59, "len": 3, "value": "x\ny"})
    );
    assert_eq!(json(&["--json", "stat", "/a"], b"")["kind"], "file");
    assert_eq!(json(&["--json", "wait", "/a", "-r", "1"], b"")["op"], "set");
    let error: Value = serde_json::from_str(&cluster.fails(&["--json", "add", "/a"], 1)).unwrap();
    assert_eq!(error["rev_mismatch"], true);
}

#[test]
fn sync_waits_for_the_disk_and_says_when_it_did_not_come() {
    let cluster = Cluster::start();
    let client = cluster.client();
    cluster.runtime.block_on(async {
        let watermark = keys::watermark(1);
        client.set(&watermark, Revision::ANY, "1000").await.unwrap();
    });
    assert_eq!(
        cluster.ok(&["--sync", "1", "set", "/a", "-1"], b"x"),
        "60\n"
    );
    assert_eq!(
        cluster.ok(&["--sync", "1,2", "--require", "1", "del", "/a", "-1"], b""),
        ""
    );

    let late = ["--sync", "1,2", "--timeout", "100ms", "set", "/a", "-1"];
    let told = cluster.fails(&late, 2);
    assert!(
        told.contains("not confirmed durable") && told.contains("persister 2"),
        "{told}"
    );
    assert_eq!(cluster.ok(&["get", "/a"], b""), "x");
    let told = cluster.fails(
        &["--json", "--sync", "2", "--timeout", "100ms", "touch", "/a"],
        2,
    );
    let error: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(error["unconfirmed"], true);
    assert_eq!(error["confirmed_by"], serde_json::json!([]));

    for policy in [
        &["--sync", "1,1", "rev"][..],
        &["--sync", "1", "--require", "2", "rev"],
    ] {
        let told = cluster.fails(policy, 2);
        assert!(told.contains("durability"), "{told}");
    }
    let mut from_env = cluster.command(&["set", "/b", "-1", "--timeout", "100ms"]);
    from_env.env("CAIRN_PERSIST", "3");
    assert_eq!(code(&run(from_env, b"")), 2);
}

#[test]
fn a_silent_server_does_not_hold_the_command_for_ever() {
    let cluster = Cluster::start();
    let runtime = &cluster.runtime;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started = std::time::Instant::now();
    cluster.fails(&["-a", &address, "--timeout", "200ms", "rev"], 2);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn find_through_a_pipe_that_closes_is_quiet() {
    let cluster = Cluster::start();
    let client = cluster.client();
    cluster.runtime.block_on(async {
        for n in 0..2_000 {
            let path = format!("/{n}-{}", "x".repeat(100));
            client.set(&path, Revision::ANY, "").await.unwrap();
        }
    });
    let (mut child, mut out) = cluster.start_reading(&["find", "/*"]);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("/0-"), "{line}");
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn bench_measures_plain_and_durable_writes_and_cleans_up() {
    let cluster = Cluster::start();
    let client = cluster.client();
    cluster.runtime.block_on(async {
        // A persister that is always ahead.
        let watermark = keys::watermark(1);
        client
            .set(&watermark, Revision::ANY, "1000000")
            .await
            .unwrap();
    });
    let load = ["--clients", "2", "--in-flight", "4", "--count", "101"];
    let durable = ["bench", "--sync", "1"];
    let text = cluster.ok(&[&durable[..], &load].concat(), b"");
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows[1].starts_with("plain ") && rows[2].starts_with("durable, 1 of 1 "));
    let text = cluster.ok(&[&durable[..], &load, &["--json"]].concat(), b"");
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0]["writes"], "plain");
    assert_eq!(rows[1]["writes"], "durable, 1 of 1");
    for row in rows {
        assert_eq!(row["count"], 101);
        assert!(row["p50_us"].as_f64() <= row["max_us"].as_f64());
    }
    assert_eq!(cluster.ok(&["find", "/bench/**"], b""), "");
    cluster.fails(&["bench", "--count", "0"], 2);
}

/// As the original command does.
#[test]
fn a_path_is_found_with_all_that_is_below_it() {
    let cluster = Cluster::start();
    for path in ["/a/x", "/a/b/c", "/a/b/d/e", "/a/y", "/z"] {
        cluster.ok(&["add", path], b"1");
    }
    let tree = "/a\n/a/b\n/a/b/c\n/a/b/d\n/a/b/d/e\n/a/x\n/a/y\n";
    assert_eq!(cluster.ok(&["find", "/a"], b""), tree);
    assert_eq!(cluster.ok(&["find", "/z"], b""), "/z\n");
    assert_eq!(cluster.ok(&["find", "/none"], b""), "");
    assert_eq!(cluster.ok(&["find", "/a", "-r", "59"], b""), "/a\n/a/x\n");
    let all = cluster.ok(&["find", "/"], b"");
    assert!(all.starts_with("/\n/a\n") && all.ends_with("/z\n"), "{all}");
    assert!(all.contains("/ctl/name\n"), "{all}");
    let json = cluster.ok(&["--json", "find", "/a/b/d"], b"");
    let kinds: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kinds[0]["kind"], "directory");
    assert_eq!(kinds[1]["rev"], 61);
    // More than are asked for at once, in one directory.
    let client = cluster.client();
    cluster.runtime.block_on(async {
        for n in 0..100 {
            client
                .set(&format!("/many/{n}"), Revision::ANY, "")
                .await
                .unwrap();
        }
    });
    assert_eq!(cluster.ok(&["find", "/many"], b"").lines().count(), 101);
    for arguments in [&["-v"][..], &["-V"], &["--version"]] {
        assert!(
            cluster.ok(arguments, b"").starts_with("doozer "),
            "{arguments:?}"
        );
    }
}

/// The story: `-r` of a revision that was yet to come made `get`, `find` and `stat` wait for it for
/// ever, whatever `--timeout` said.
#[test]
fn a_revision_that_does_not_come_is_waited_for_as_long_as_is_said() {
    let cluster = Cluster::start();
    cluster.ok(&["add", "/a"], b"x");
    for command in ["get", "stat", "find"] {
        let told = cluster.fails(&[command, "/a", "-r", "1000", "--timeout", "50ms"], 2);
        assert!(
            told.contains("revision 1000 did not come within 50ms"),
            "{told}"
        );
        cluster.ok(&[command, "/a", "-r", "59", "--timeout", "1m30s"], b"");
    }
    let told = cluster.fails(&["wait", "/a", "-t", "50ms"], 2);
    assert!(told.contains("nothing changed within 50ms"), "{told}");
}

/// The story: `bench` that was interrupted left its files behind.
#[test]
fn a_bench_that_is_interrupted_removes_its_files() {
    let cluster = Cluster::start();
    let mut command = cluster.command(&["bench", "--count", "10000000", "--in-flight", "16"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let client = cluster.client();
    let wait = client.wait("/bench/**", Revision(59));
    let wrote = cluster.runtime.block_on(wait).unwrap();
    assert!(wrote.path.contains(&child.id().to_string()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("were removed"),
        "{}",
        stderr(&output)
    );
    assert_eq!(cluster.ok(&["find", "/bench"], b""), "");
}

/// The story: `watch` and `wait` went on over a node that had been restarted, empty, and missed
/// what it did until its revision passed the one that they had seen; or all, if it had passed it
/// already.
#[test]
fn a_watch_ends_when_the_cluster_was_reset() {
    for start_revision in [None, Some(1_000)] {
        let cluster = Cluster::start();
        for n in 0..20 {
            cluster.ok(&["set", "/app/k", "-1"], n.to_string().as_bytes());
        }
        let mut command = cluster.command(&["watch", "/app/*", "-r", "59"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with(" 78 set 2\n") {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0);
        }
        let Cluster { runtime, address } = cluster;
        runtime.shutdown_timeout(Duration::from_secs(5));
        let runtime = Runtime::new().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match runtime.block_on(TcpListener::bind(&address)) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let options = Options {
            start_revision,
            ..Options::default()
        };
        let server = Server::new(options).unwrap();
        runtime.spawn(server.run(listener, std::future::pending()));
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 2);
        let told = stderr(&output);
        assert!(told.contains("another cluster"), "{told}");
    }
}
