//! Times of a journal that was written by clocks that were not always right.
//!
//! The story: one change was recorded while the clock was a year ahead. Every later time was then
//! answered with the state before it, in silence, for a year.

use cairn_journal::{Change, NewRecord, Options, Revision, Timestamp};
use tempfile::TempDir;

use crate::run::{DUMP, code, dumped, open, segments, stderr, stdout, with};

const HOUR: i64 = 3_600_000;

/// Revisions from 100 on, with the hours that each was written ago.
fn journal(hours_ago: &[i64]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), Options::default());
    for (revision, hours) in (100..).zip(hours_ago) {
        let change = Change::set("/app/v", revision.to_string());
        let time = Timestamp(Timestamp::now().0 - hours * HOUR - 60_000);
        let record = NewRecord::changes(Revision(revision), vec![change], time);
        journal.append_and_commit(record).unwrap();
    }
    journal.close().unwrap();
    dir
}

fn path(dir: &TempDir) -> &str {
    dir.path().to_str().unwrap()
}

/// The value at a time, and what is said about it.
fn at(dir: &str, time: &str) -> (String, String) {
    let output = with(DUMP, &["--state", "--at-time", time, dir], b"");
    let value = stdout(&output);
    let value = value.trim().rsplit('=').next().unwrap().to_owned();
    (value, stderr(&output))
}

#[test]
fn one_change_by_a_clock_that_was_ahead_moves_no_other() {
    let dir = journal(&[72, -24 * 365, 2, 0]);
    let segment = segments(dir.path()).remove(0);
    for path in [path(&dir), segment.to_str().unwrap()] {
        for (time, value) in [
            ("now", "103"),
            ("1 second ago", "103"),
            ("1 hour ago", "102"),
        ] {
            let (told, doubt) = at(path, time);
            assert_eq!((&*told, &*doubt), (value, ""), "{path} {time}");
        }
        // It was written at some time between its neighbours.
        let (told, doubt) = at(path, "24 hours ago");
        assert_eq!(told, "100");
        assert!(doubt.contains("a clock was wrong"), "{doubt}");
        assert!(
            doubt.contains("100") || doubt.contains("sequence 1 to 2"),
            "{doubt}"
        );
    }
}

/// Most records were written by the wrong clock: what the others say is told beside it.
#[test]
fn a_burst_by_a_wrong_clock_is_doubted() {
    let hours = [&[72, 71, 70][..], &[24; 20], &[60, 50]].concat();
    let dir = journal(&hours);
    // The newest was revision 102 if the two after the burst were behind, 124 if it was ahead.
    let (told, doubt) = at(path(&dir), "40 hours ago");
    assert_eq!(told, "102");
    assert!(doubt.contains("one from 102 to 124"), "{doubt}");
}

/// One rule: the part between two times is what the states at these times differ by.
#[test]
fn from_and_to_follow_the_rule_of_at_time() {
    let dir = journal(&[72, 50, -24 * 365, 40, 10, 2, 0]);
    let revisions = |arguments: &[&str]| -> Vec<String> {
        let text = dumped(&[arguments, &[path(&dir)]].concat());
        text.lines().map(|line| line[..3].to_owned()).collect()
    };
    assert_eq!(revisions(&["--from", "1 hour ago"]), ["106"]);
    assert_eq!(revisions(&["--to", "60 hours ago"]), ["100"]);
    let all = revisions(&[]);
    for hours in [0, 1, 3, 20, 45, 60] {
        let time = format!("{hours} hours ago");
        let (at, _) = at(path(&dir), &time);
        let to = revisions(&["--to", &time]);
        assert_eq!(to.last(), Some(&at), "{time}");
        let from = revisions(&["--from", &time]);
        assert_eq!([to, from].concat(), all, "{time}");
    }
}

#[test]
fn a_time_that_is_still_to_come_is_refused_everywhere() {
    let dir = journal(&[1]);
    for arguments in [
        &["--state", "--at-time"][..],
        &["--from"],
        &["--to"],
        &["--stats", "--to"],
        &["--json", "--from"],
    ] {
        let output = with(
            DUMP,
            &[arguments, &["2999-01-01", path(&dir)]].concat(),
            b"",
        );
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert!(
            stderr(&output).contains("in the future"),
            "{}",
            stderr(&output)
        );
    }
}
