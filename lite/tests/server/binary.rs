//! The program itself, as a process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use cairn_client::wire::{Request, Verb};
use tokio::net::TcpStream;

use crate::node::{Peer, request, set};

const PROGRAM: &str = env!("CARGO_BIN_EXE_doozer-lite");

/// Ends the process whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> (Running, String) {
    start_with(arguments, &[])
}

fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> (Running, String) {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .env_remove("DOOZER_RWSECRET")
        .env_remove("DOOZER_ROSECRET")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect(&line)
        .to_owned();
    (Running(child), address)
}

#[tokio::test]
async fn it_says_where_it_listens_serves_and_ends_with_0_on_each_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let (mut running, address) = start(&["-l", "127.0.0.1:0", "--hist", "7"]);
        let mut peer = Peer::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(peer.rev().await, 58);
        let pid = running.0.id().to_string();
        let kill = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(kill.success());
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let (_running, address) = start(&["-l", "127.0.0.1:0"]);
    let second = Command::new(PROGRAM)
        .args(["-l", &address])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        error.contains(&format!("cannot listen on {address}")),
        "{error}"
    );
    assert!(error.contains("choose another port with -l"), "{error}");
    assert!(second.stdout.is_empty());
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_wrong() {
    for (arguments, reason) in [
        (["-l", "nowhere"], "not HOST:PORT"),
        (["-l", "127.0.0.1:65536"], "not HOST:PORT"),
        (["--hist", "0"], "--hist"),
        (["--start-revision", "59"], "too low"),
        (["--start-revision", "9223372036854775807"], "too high"),
        (["--rosecret", "hush"], "without a read-write secret"),
        (["--max-connections", "0"], "at least 1 connection"),
    ] {
        let ended = Command::new(PROGRAM)
            .args(arguments)
            .env_remove("DOOZER_RWSECRET")
            .env_remove("DOOZER_ROSECRET")
            .output()
            .unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(reason), "{arguments:?}: {error}");
        assert!(
            !error.contains("hush") && ended.stdout.is_empty(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn secrets_come_from_the_environment_and_are_not_shown() {
    let secret = [("DOOZER_RWSECRET", "s3cret-value")];
    let (_running, address) = start_with(&["-l", "127.0.0.1:0"], &secret);
    let mut peer = Peer::new(TcpStream::connect(address).await.unwrap());
    let denied = peer.ask(set("/a", -1, b"")).await;
    assert_eq!(denied.err_detail.as_deref(), Some("permission denied"));
    let access = Request {
        value: Some("s3cret-value".into()),
        ..request(Verb::Access)
    };
    assert_eq!(peer.ask(access).await.err_code, None);
    assert_eq!(peer.set("/a", b"").await, 59);

    let help = Command::new(PROGRAM)
        .arg("--help")
        .envs(secret)
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("DOOZER_RWSECRET"));
    assert!(!help.contains("s3cret-value"));
}

/// A full disk under the log, and nobody who reads standard output, ended the node with its data.
#[tokio::test]
async fn a_log_that_cannot_be_written_ends_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let full = || std::fs::File::create("/dev/full").unwrap();
    let child = Command::new(PROGRAM)
        .args(["-l", &address])
        .env("RUST_LOG", "debug")
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    for expected in [59, 60, 61] {
        let stream = loop {
            assert!(running.0.try_wait().unwrap().is_none(), "it has ended");
            match TcpStream::connect(&address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(Peer::new(stream).set("/a", b"").await, expected);
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let mut child = Command::new(PROGRAM)
        .args(["-l", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stderr.take().unwrap()).read_line(&mut line);
    drop(Running(child));
    read.unwrap();
    assert!(
        line.contains("serving") && !line.contains('\x1b'),
        "{line:?}"
    );
}
