//! Journals of all kinds, and what becomes of them.

use std::path::{Path, PathBuf};

use cairn_etcd_snapshot::{Change as Changed, KeyAttributes, ReadOptions, Record, Snapshot};
use cairn_journal::{
    Change, Error as JournalError, GapReason, Journal, NewRecord, Options, Revision, Timeline,
    Timestamp,
};
use cairn_protocol::keys;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::file_error::FileError;
use crate::restore::options::At;
use crate::restore::snapshot_file::command::to_snapshot;
use crate::restore::snapshot_file::report::FileReport;
use crate::restore::snapshot_file::request::{Counter, FileRequest};
use crate::restore::snapshot_file::{ASSUMED_TTL, JUMP};

const T: Timestamp = Timestamp(0);

/// A put at a revision of its own that made the key.
fn put(revision: i64, key: &'static str, value: &'static str) -> Change {
    leased(revision, key, value, 0)
}

fn leased(revision: i64, key: &'static str, value: &'static str, lease: i64) -> Change {
    let attributes = KeyAttributes {
        create_revision: revision,
        version: 1,
        lease,
        sub: Some(0),
    };
    Change::set(key, value).with_attributes(attributes.to_bytes())
}

fn at(revision: i64, change: Change) -> NewRecord {
    NewRecord::changes(Revision(revision), vec![change], T)
}

/// A journal of these records.
fn journal(records: Vec<NewRecord>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, _) = Journal::open(&dir.path().join("j"), Options::default()).expect("opened");
    let timeline = Timeline {
        id: "lost".to_owned(),
        parent: None,
        at: Revision(0),
        kept: true,
        observed_at: T,
    };
    let first = NewRecord::timeline(Revision(0), timeline);
    for record in std::iter::once(first).chain(records) {
        journal.append_and_commit(record).expect("appended");
    }
    journal.close().expect("closed");
    dir
}

fn request(dir: &Path) -> FileRequest {
    FileRequest {
        journal: dir.join("j"),
        file: dir.join("f.db"),
        at: At::Newest,
        history_from: None,
        counter: Counter::Seamless,
        accept_loss: false,
        dry_run: false,
        members: None,
    }
}

async fn made(request: &FileRequest) -> Result<FileReport, Error> {
    to_snapshot(request, &CancellationToken::new()).await
}

fn records(file: &PathBuf) -> Vec<Record> {
    let snapshot = Snapshot::open(file, ReadOptions::default()).expect("a snapshot");
    let records = snapshot.records().expect("records");
    records.map(|record| record.expect("a record")).collect()
}

/// Nothing is left beside the journal.
fn nothing_is_left(dir: &Path) {
    let left = std::fs::read_dir(dir).expect("it is there").count();
    assert_eq!(left, 1, "only the journal is there");
}

/// A first start on a cluster that had keys already, and a revision that was not journaled.
fn with_a_baseline() -> tempfile::TempDir {
    let gap = (Revision(1), Revision(10), GapReason::Baseline);
    journal(vec![
        NewRecord::gap_opened(gap.0, gap.1, gap.2, T),
        at(10, put(4, "a", "1").at(Revision(4))),
        NewRecord::gap_closed(gap.0, gap.1, gap.2, T),
        at(11, put(11, "b", "1")),
        at(13, Change::delete("a")),
        NewRecord::watermark(Revision(14), T),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn history_begins_behind_a_gap_and_what_was_not_journaled_is_filled() {
    let dir = with_a_baseline();
    let report = made(&request(dir.path())).await.expect("made");
    assert_eq!(
        (report.history_from, report.newest, report.revision),
        (10, 14, 15)
    );
    assert_eq!((report.keys, report.filled), (1, 2));
    let records = records(&dir.path().join("f.db"));
    let places: Vec<_> = records.iter().map(|record| record.at.revision).collect();
    // The last two are the identity, and the end of the key that filled two revisions.
    assert_eq!(places, [4, 11, 12, 13, 14, 15, 15]);
    assert!(matches!(&records[6].change, Changed::Delete { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_cannot_tell_is_refused_and_nothing_is_left() {
    let dir = with_a_baseline();
    let with = |request: FileRequest| async move { made(&request).await.expect_err("refused") };
    let base = request(dir.path());
    let error = with(FileRequest {
        history_from: Some(Revision(5)),
        ..base.clone()
    })
    .await;
    assert_eq!(error.exit_status(), 28);
    assert!(
        error
            .to_string()
            .contains("from 10 to 14 (revisions 1 to 9"),
        "{error}"
    );
    let error = with(FileRequest {
        at: At::Revision(Revision(5)),
        ..base.clone()
    })
    .await;
    assert!(
        matches!(error, Error::Journal(JournalError::NotSeen { .. })),
        "{error}"
    );
    let error = with(FileRequest {
        at: At::Revision(Revision(15)),
        ..base.clone()
    })
    .await;
    assert!(
        matches!(error, Error::Journal(JournalError::NotInHistory { .. })),
        "{error}"
    );
    nothing_is_left(dir.path());

    let dir = journal(vec![at(2, Change::set("/a", "1"))]);
    let error = with(request(dir.path())).await;
    assert!(
        matches!(error, Error::SnapshotFile(FileError::NoAttributes { .. })),
        "{error}"
    );
    nothing_is_left(dir.path());

    let dir = journal(Vec::new());
    let error = with(request(dir.path())).await;
    assert!(
        matches!(error, Error::SnapshotFile(FileError::Empty)),
        "{error}"
    );

    let gap = NewRecord::gap_opened(Revision(3), Revision(9), GapReason::HistoryDiscarded, T);
    let dir = journal(vec![at(2, put(2, "a", "1")), gap]);
    let error = with(request(dir.path())).await;
    assert!(matches!(error, Error::WouldLose(_)), "{error}");
    let accepted = FileRequest {
        accept_loss: true,
        ..request(dir.path())
    };
    assert_eq!(made(&accepted).await.expect("accepted").newest, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_not_touched_and_an_interrupted_one_is_not_there() {
    let dir = with_a_baseline();
    std::fs::write(dir.path().join("f.db"), "mine").expect("written");
    let error = made(&request(dir.path())).await.expect_err("it is there");
    assert_eq!(error.exit_status(), 2);
    let kept = std::fs::read(dir.path().join("f.db")).expect("it is there");
    assert_eq!(kept, b"mine");
    std::fs::remove_file(dir.path().join("f.db")).expect("removed");
    let dry = FileRequest {
        dry_run: true,
        ..request(dir.path())
    };
    assert_eq!(made(&dry).await.expect("looked").outcome, "would-write");
    nothing_is_left(dir.path());
    let cancel = CancellationToken::new();
    cancel.cancel();
    // It may be over before it has heard of it.
    match to_snapshot(&request(dir.path()), &cancel).await {
        Err(error) => {
            assert!(matches!(error, Error::Interrupted), "{error}");
            nothing_is_left(dir.path());
        }
        Ok(report) => assert_eq!(report.outcome, "written"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_come_back_but_for_those_of_the_dead() {
    let owner: &'static str = keys::owner(1).leak();
    let dir = journal(vec![
        at(2, leased(2, owner, "j p 1", 9).control()),
        at(3, leased(3, "old", "1", 5)),
        at(4, leased(4, "known", "1", 6)),
        at(5, leased(5, "unknown", "1", 7)),
        at(6, leased(6, "negative", "1", -7)),
        NewRecord::lease(Revision(6), 9, Some(10), T),
        NewRecord::lease(Revision(6), 5, Some(50), T),
        NewRecord::lease(Revision(6), 6, Some(600), T),
        at(7, Change::delete("old")),
        NewRecord::lease(Revision(7), 5, None, T),
    ]);
    let older = FileRequest {
        at: At::Revision(Revision(6)),
        ..request(dir.path())
    };
    let report = made(&older).await.expect("made");
    assert_eq!((report.leases, report.never_expire), (2, 1));
    assert_eq!(report.assumed_leases, ["7"]);
    assert_eq!((report.reverted, report.detached), (1, 1));
    assert_eq!(report.detached_keys, ["old"]);
    let snapshot = Snapshot::open(&older.file, ReadOptions::default()).expect("a snapshot");
    let leases = snapshot.leases().expect("leases");
    let leases: Vec<_> = leases
        .map(|lease| lease.map(|lease| (lease.id, lease.ttl)).expect("a lease"))
        .collect();
    assert_eq!(leases, [(6, 600), (7, ASSUMED_TTL)]);
    let records = records(&older.file);
    let ended = Changed::Delete { key: owner.into() };
    assert!(
        records
            .iter()
            .any(|record| record.at.revision == 8 && record.change == ended)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_jumps_and_the_identity_says_so_or_has_no_parent() {
    let dir = with_a_baseline();
    let jumped = FileRequest {
        counter: Counter::Jump,
        ..request(dir.path())
    };
    let report = made(&jumped).await.expect("made");
    assert_eq!(
        (report.history_from, report.revision),
        (13 + JUMP, 14 + JUMP)
    );
    let said = format!(" from lost at 14 kept next {}", 14 + JUMP);
    assert!(report.identity.ends_with(&said), "{}", report.identity);
    assert_eq!(records(&jumped.file).len(), 2, "the state and the identity");

    let rehearsal = FileRequest {
        counter: Counter::Rehearsal,
        at: At::Revision(Revision(12)),
        file: dir.path().join("g.db"),
        ..request(dir.path())
    };
    let report = made(&rehearsal).await.expect("made");
    assert_eq!((report.newest, report.revision, report.keys), (12, 13, 2));
    assert!(!report.identity.contains(' '), "{}", report.identity);
}
