//! A lost log or a closed output ends nothing: a persister persists, a restore restores, and what
//! only prints ends as `head` expects.
//!
//! The story: a full standard error ended a persister with 101, and `restore | head` left a cluster
//! half restored.

use std::fs::File;
use std::process::{Output, Stdio};

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::{Node, end, has, persister, wait_for};

#[derive(Clone, Copy, Debug)]
enum Gone {
    /// A pipe whose reader has ended.
    Closed,
    /// A disk without room.
    Full,
}

impl Gone {
    const BOTH: [Self; 2] = [Self::Closed, Self::Full];

    fn output(self) -> Stdio {
        match self {
            Self::Full => File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
            Self::Closed => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                writer.into()
            }
        }
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_configuration_is_printed_as_far_as_somebody_reads_it() {
    let check = ["config", "check", "--id", "1"];
    let output = persister(&check).stdout(Gone::Closed.output()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(told(&output), "");
    let output = persister(&check).stdout(Gone::Full.output()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("cannot write to standard output"));
    // And where even the error cannot be told, the status still tells it.
    for gone in Gone::BOTH {
        let output = persister(&["config", "check"])
            .stderr(gone.output())
            .output();
        assert_eq!(output.unwrap().status.code(), Some(2), "{gone:?}");
    }
}

#[test]
fn a_persister_whose_log_is_lost_persists() {
    for gone in Gone::BOTH {
        for format in ["text", "json"] {
            let dir = TempDir::new().unwrap();
            let journal = dir.path().join("j");
            let args = ["--id", "1", "--embedded", "-l", "127.0.0.1:0", "-vv"];
            let mut child = persister(&args)
                .args(["--log-format", format, "-j"])
                .arg(&journal)
                .stdout(gone.output())
                .stderr(gone.output())
                .spawn()
                .unwrap();
            wait_for(|| has(&journal, ".seg"));
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            assert_eq!(end(&mut child), Some(0), "{gone:?}, {format}");
        }
    }
}

#[test]
fn a_restore_whose_outputs_are_gone_restores() {
    const KEYS: i64 = 300;
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open(dir.path(), Options::default()).unwrap();
    for n in 1..=KEYS {
        let set = Change::set(format!("/app/{n}"), format!("value {n}"));
        let record = NewRecord::changes(Revision(1000 + n), vec![set], Timestamp::now());
        journal.append_and_commit(record).unwrap();
    }
    journal.close().unwrap();
    let dir = dir.path().to_str().unwrap();
    for gone in Gone::BOTH {
        for stderr in [true, false] {
            let node = Node::start();
            let mut command = persister(&["restore", "-a", &node.uri, "-j", dir]);
            command.stdout(gone.output());
            if stderr {
                let mut child = command.stderr(gone.output()).spawn().unwrap();
                assert_eq!(end(&mut child), Some(0), "{gone:?}");
            } else {
                let output = command.output().unwrap();
                assert_eq!(output.status.code(), Some(0), "{}", told(&output));
                assert!(told(&output).contains("its report cannot be written"));
            }
            let newest = format!("value {KEYS}").into_bytes();
            assert_eq!(node.value(&format!("/app/{KEYS}")), Some(newest));
            for (gone, status) in [(Gone::Closed, 0), (Gone::Full, 1)] {
                let status_of = ["status", "-a", &node.uri];
                let output = persister(&status_of)
                    .stdout(gone.output())
                    .output()
                    .unwrap();
                assert_eq!(output.status.code(), Some(status), "{}", told(&output));
            }
        }
    }
}
