//! An end waits for nobody, and says why before it waits for anything.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::common::Embedded;

/// Connections that say nothing, half a request's head, or half a body, and are held.
fn strangers(address: &str) -> Vec<TcpStream> {
    let said = [
        "",
        "G",
        "GET /metr",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n",
        "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhalf",
    ];
    said.iter()
        .map(|said| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream
        })
        .collect()
}

/// The story: one byte sent to `--listen`, and held, kept a persister from ending on a signal and
/// on every error. Its reason was never printed, and nothing was restarted.
#[test]
fn nobody_who_is_connected_holds_up_an_end() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut persister = Embedded::start(&["--listen", "localhost:0"], None);
        let http = persister.said("http://", "/");
        let (_http, _node) = (strangers(&http), strangers(&persister.said("ca=", "'")));
        persister.set("/a", b"x");
        persister.signal(signal);
        persister.ends_with(0);
    }
}

#[test]
fn a_fatal_error_is_told_and_ends_the_process_whoever_is_connected() {
    let mut persister = Embedded::start(&["--listen", "127.0.0.1:0"], None);
    let http = persister.said("http://", "/");
    let (_http, _node) = (strangers(&http), strangers(&persister.said("ca=", "'")));
    persister.set("/a", b"x");
    std::fs::remove_file(persister.journal.join("LOCK")).unwrap();
    persister.write(&persister.client(), "/a", b"y");
    persister.ends_with(13);
    let told = persister.told();
    let reasons = told.lines().filter(|line| line.starts_with("persister: "));
    assert_eq!(reasons.count(), 1, "{told}");
    assert!(told.contains("the lock file was removed"), "{told}");
}

/// The story: after `rm j/*.seg` a persister acknowledged for ever, and everything was gone at its
/// end.
#[test]
fn a_persister_whose_segments_are_removed_claims_nothing_more() {
    let mut persister = Embedded::start(&[], None);
    persister.set("/a", b"x");
    for entry in std::fs::read_dir(&persister.journal).unwrap().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".seg") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let client = persister.client();
    persister.write(&client, "/a", b"y");
    let status = crate::common::end(&mut persister.child);
    // Its writer or its reader finds it first.
    assert!(matches!(status, Some(12 | 13)), "{status:?}");
    let told = persister.told();
    let found = ["removed, moved or replaced", "it holds no segment"];
    assert!(found.iter().any(|found| told.contains(found)), "{told}");
}

/// The story: a pipe to a log collector that hangs, and is not closed, stopped the persister with
/// its first full pipe.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    // The test reads until it knows the address, and then no more.
    let mut persister =
        Embedded::start_with(&["-vv", "--listen", "127.0.0.1:0"], None, |command| {
            command.stderr(Stdio::piped());
        });
    let client = persister.client();
    for n in 0..2_000 {
        persister.write(&client, &format!("/{}", n % 10), b"value");
    }
    persister.set_with(&client, "/last", b"value");
    persister.signal(Signal::TERM);
    persister.ends_with(0);
}
