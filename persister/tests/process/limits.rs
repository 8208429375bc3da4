//! What strangers take is bounded, and what the journal needs is kept for it.

use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Embedded, Node, end, persister, wait_for};

/// The story: a thousand idle connections, to `--listen` or to the embedded node, took the last
/// descriptor. At the next segment the persister ended with a status that no unit restarts.
#[test]
fn no_number_of_connections_takes_the_journals_descriptors() {
    let args = ["--listen", "127.0.0.1:0", "--segment-bytes", "17MiB"];
    let mut persister = Embedded::start(&args, Some("ulimit -n 400"));
    let http = persister.said("http://", "/");
    let node = persister.said("ca=", "'");
    let client = persister.client();
    let connect = |address: &str| {
        let connections = (0..500).filter_map(|_| TcpStream::connect(address).ok());
        connections.collect::<Vec<_>>()
    };
    let (_http, _node) = (connect(&http), connect(&node));
    // Whoever is connected, health is told: the oldest connection gives way.
    let health = get(&http, "/livez");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    // More than a segment.
    for n in 0..20 {
        persister.write(&client, &format!("/{n}"), &[b'v'; 1_000_000]);
    }
    persister.set_with(&client, "/last", b"x");
    assert!(segments(&persister.journal) > 1);
    persister.signal(Signal::TERM);
    persister.ends_with(0);
    let told = persister.told();
    assert!(!told.contains("os error 24"), "{told}");
}

fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The story: a node that was full for a moment, and said so, ended the persister for good.
#[test]
fn a_node_that_is_full_is_waited_for() {
    let node = Node::with(cairn_lite::Options {
        max_connections: 1,
        ..cairn_lite::Options::default()
    });
    let address = node.uri.trim_start_matches("doozer:?ca=");
    let held = TcpStream::connect(address).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut child = persister(&["--id", "1", "-a", &node.uri, "-j"])
        .arg(dir.path().join("j"))
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let has_said = |what: &str| {
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(!log.contains("persister: "), "{log}");
        log.contains(what).then_some(())
    };
    wait_for(|| has_said("too many connections"));
    drop(held);
    wait_for(|| has_said("following cluster"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(end(&mut child), Some(0));
}

fn segments(journal: &std::path::Path) -> usize {
    let names = std::fs::read_dir(journal).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".seg"))
        .count()
}
