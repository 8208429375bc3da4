//! Two journals side by side.

use std::path::Path;
use std::process::Output;

use cairn_journal::{Change, GapReason, NewRecord, Options, Revision, Timeline, Timestamp};
use tempfile::TempDir;

use crate::run::{DIFF, code, open, stderr, stdout, with};

fn journal(records: Vec<NewRecord>) -> TempDir {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), Options::default());
    for record in records {
        journal.append(record).unwrap();
    }
    journal.close().unwrap();
    dir
}

fn set(revision: i64, path: &str, body: &str) -> NewRecord {
    let change = Change::set(path.to_owned(), body.to_owned());
    NewRecord::changes(Revision(revision), vec![change], Timestamp::now())
}

fn timeline(id: &str) -> NewRecord {
    let timeline = Timeline {
        id: id.to_owned(),
        parent: None,
        at: Revision(0),
        kept: false,
        observed_at: Timestamp(0),
    };
    NewRecord::timeline(Revision(0), timeline)
}

fn diff(a: &TempDir, b: &TempDir, arguments: &[&str]) -> Output {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (a, b) = (text(a.path()), text(b.path()));
    let mut all = vec![a.as_str(), b.as_str()];
    all.extend(arguments);
    with(DIFF, &all, b"")
}

#[test]
fn what_only_one_has_is_printed_and_the_ends_are_not_compared() {
    let a = journal(vec![
        set(1, "/a", "1"),
        set(2, "/b", "2"),
        set(3, "/c", "3"),
        set(5, "/e", "five"),
    ]);
    let b = journal(vec![
        set(1, "/a", "1"),
        set(3, "/c", "other"),
        set(4, "/d", "4"),
        set(5, "/e", "five"),
        set(6, "/late", "not yet in A"),
    ]);
    let output = diff(&a, &b, &[]);
    assert_eq!(
        stdout(&output),
        "< 2:/b=2\n< 3:/c=3\n> 3:/c=other\n> 4:/d=4\n"
    );
    assert_eq!(code(&output), 1);
    let told = stderr(&output);
    assert!(
        told.contains("2 in both, 2 only in A, 2 only in B"),
        "{told}"
    );
    assert!(told.contains("B: revisions 1 to 6"), "{told}");

    let same = diff(&a, &b, &["--prefix", "/e"]);
    assert_eq!((code(&same), stdout(&same)), (0, String::new()));
    let state = diff(&a, &b, &["--state"]);
    assert_eq!(
        stdout(&state),
        "< 2:/b=2\n< 3:/c=3\n> 3:/c=other\n> 4:/d=4\n"
    );
    assert_eq!(code(&state), 1);
}

/// B could not see 2 to 4 and holds the difference instead: that is no difference between the
/// journals, and what came of it is the same.
#[test]
fn a_gap_is_left_out_and_its_outcome_compared() {
    let (first, last) = (Revision(2), Revision(4));
    let reason = GapReason::HistoryDiscarded;
    let found = Change::set("/b", "4").at(Revision(4));
    let a = journal(vec![
        set(1, "/a", "1"),
        set(2, "/b", "2"),
        set(4, "/b", "4"),
        set(5, "/c", "5"),
    ]);
    let b = journal(vec![
        set(1, "/a", "1"),
        NewRecord::gap_opened(first, last, reason, Timestamp(1)),
        NewRecord::changes(last, vec![found], Timestamp(1)),
        NewRecord::gap_closed(first, last, reason, Timestamp(1)),
        set(5, "/c", "5"),
    ]);
    let output = diff(&a, &b, &[]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("B: not compared: revisions 2 to 4"), "{told}");
    assert_eq!(code(&diff(&a, &b, &["--state"])), 0);
    assert_eq!(code(&diff(&a, &b, &["--state", "--at-revision", "3"])), 64);
}

#[test]
fn different_clusters_and_journals_that_never_met_cannot_be_compared() {
    let a = journal(vec![timeline("one"), set(1, "/a", "1")]);
    let b = journal(vec![timeline("two"), set(1, "/a", "1")]);
    let output = diff(&a, &b, &[]);
    assert_eq!(code(&output), 3);
    assert!(
        stderr(&output).contains("follows the cluster one"),
        "{}",
        stderr(&output)
    );
    let empty = journal(Vec::new());
    assert_eq!(code(&diff(&a, &empty, &[])), 3);
    assert_eq!(
        code(&with(DIFF, &["/nonexistent/a", "/nonexistent/b"], b"")),
        4
    );
}

/// The story: behind a loss within a snapshot diff, the rest of its state was taken for events, in
/// the order of paths. Revisions fell, and the comparison of the two histories fell apart.
#[test]
fn a_change_that_is_older_than_what_was_covered_is_no_event() {
    let mixed = vec![
        Change::set("/x", "state").at(Revision(3)),
        Change::set("/y", "20"),
    ];
    let a = journal(vec![
        set(1, "/a", "1"),
        set(10, "/b", "10"),
        NewRecord::changes(Revision(20), mixed, Timestamp::now()),
        set(21, "/z", "21"),
    ]);
    let b = journal(vec![
        set(1, "/a", "1"),
        set(10, "/b", "10"),
        set(20, "/y", "20"),
        set(21, "/z", "21"),
    ]);
    for (one, other) in [(&a, &b), (&b, &a)] {
        let output = diff(one, other, &[]);
        assert_eq!(stdout(&output), "", "{}", stderr(&output));
        assert_eq!(code(&output), 0);
        assert!(stderr(&output).contains("4 in both"), "{}", stderr(&output));
    }
}
