//! `dumpjournal` and `writejournal`, through real pipes and on real files.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use cairn_journal::{Change, GapReason, NewRecord, Options, Revision, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::run::{DUMP, WRITE, code, command, open, run, segments, stderr, stdout};

fn dump(dir: &Path) -> Output {
    let mut command = command(DUMP);
    command.arg(dir);
    run(command, b"")
}

fn check(dir: &Path) -> Output {
    let mut command = command(DUMP);
    command.arg("--check").arg(dir);
    run(command, b"")
}

fn write(dir: &Path, text: &[u8]) -> Output {
    let mut command = command(WRITE);
    command.arg(dir);
    run(command, text)
}

/// A journal of these records, closed in good order.
fn journal(dir: &Path, records: Vec<NewRecord>) {
    let journal = open(dir, Options::default());
    for record in records {
        journal.append_and_commit(record).unwrap();
    }
    journal.close().unwrap();
}

fn changes(revision: i64, changes: Vec<Change>) -> NewRecord {
    NewRecord::changes(Revision(revision), changes, Timestamp(0))
}

fn set(path: &str, body: impl Into<Vec<u8>>) -> Change {
    Change::set(path.to_owned(), body.into())
}

fn delete(path: &str) -> Change {
    Change::delete(path.to_owned())
}

/// Dump, write, dump: returns the first dump, having compared it with the second.
fn round(dir: &Path) -> Vec<u8> {
    let first = dump(dir);
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    let copy = TempDir::new().unwrap();
    let copy = copy.path().join("journal");
    let written = write(&copy, &first.stdout);
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    let second = dump(&copy);
    assert_eq!(code(&second), 0, "{}", stderr(&second));
    assert_eq!(first.stdout, second.stdout);
    first.stdout
}

fn segment(dir: &Path) -> PathBuf {
    segments(dir).remove(0)
}

#[test]
fn ordinary_changes_look_like_the_original() {
    let dir = TempDir::new().unwrap();
    journal(
        dir.path(),
        vec![
            changes(59, vec![set("/a", "one")]),
            changes(61, vec![set("/b", "k=v"), delete("/c")]),
            changes(62, vec![delete("/a")]),
        ],
    );
    assert_eq!(round(dir.path()), b"59:/a=one\n61:/b=k=v\n61:/c\n62:/a\n");
}

#[test]
fn nasty_bytes_survive_dump_write_dump() {
    let dir = TempDir::new().unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 6] = [
        b"",
        b"\n",
        b"a=b:c\\n\r\n",
        b"\xff\xfe",
        &bytes,
        b"7:/x=y\n8:/z",
    ];
    let mut records = Vec::new();
    for (revision, body) in (1..).zip(bodies) {
        records.push(changes(revision, vec![set("/a", body)]));
    }
    records.push(changes(
        7,
        vec![Change::set(&b"/p=q:r\n\xff"[..], &b"x"[..])],
    ));
    records.push(changes(8, vec![Change::delete(&b"/=\\"[..])]));
    records.push(changes(9, vec![set("/big", vec![b'\n'; 3 << 20])]));
    journal(dir.path(), records);
    let text = round(dir.path());
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 9);
}

#[test]
fn a_gaps_difference_keeps_its_revisions_and_the_gap_is_told() {
    let dir = TempDir::new().unwrap();
    let (first, last) = (Revision(60), Revision(100));
    let reason = GapReason::HistoryDiscarded;
    journal(
        dir.path(),
        vec![
            changes(59, vec![set("/a", "one")]),
            NewRecord::gap_opened(first, last, reason, Timestamp(0)),
            changes(
                100,
                vec![
                    set("/b", "x").at(Revision(90)),
                    set("/c", "y").at(Revision(70)),
                    delete("/a"),
                ],
            ),
            changes(100, vec![set("/d", "z").at(Revision(80))]),
            NewRecord::gap_closed(first, last, reason, Timestamp(0)),
            changes(101, vec![set("/e", "new")]),
        ],
    );
    let text = round(dir.path());
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "59:/a=one\n90:/b=x\n70:/c=y\n100:/a\n80:/d=z\n101:/e=new\n"
    );
    let told = stderr(&dump(dir.path()));
    assert!(told.contains("revisions 60 to 100 were not seen"), "{told}");
    assert_eq!(code(&check(dir.path())), 3);
}

/// The story: a copy of a repaired journal lacked what was left of a snapshot diff in which a
/// record was lost. The loss is a gap of its own in the copy, and a gap that opens makes void what
/// an unfinished diff has told.
#[test]
fn a_copy_keeps_what_is_left_of_a_snapshot_diff_in_which_a_record_was_lost() {
    let text = br#"
{"revision":1,"type":"changes","changes":[{"op":"set","path":"/a","value":"old"}]}
{"revision":1,"type":"gap","first":2,"last":9,"phase":"opened","reason":"baseline","observed_at_ms":2}
{"revision":9,"type":"changes","changes":[{"op":"set","path":"/a","value":"found","revision":7}]}
{"revision":1,"type":"lost","first_sequence":4,"first":8,"last":9,"observed_at_ms":3}
{"revision":9,"type":"changes","changes":[{"op":"set","path":"/c","value":"rest","revision":6}]}
{"revision":9,"type":"gap","first":2,"last":9,"phase":"closed","reason":"baseline","observed_at_ms":4}
"#;
    let dir = TempDir::new().unwrap();
    let copy = dir.path().join("journal");
    let mut writing = command(WRITE);
    writing.arg("--json").arg(&copy);
    let written = run(writing, &text[1..]);
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    let mut state = command(DUMP);
    state.arg("--state").arg(&copy);
    assert_eq!(stdout(&run(state, b"")), "7:/a=found\n6:/c=rest\n");

    let with_changes = br#"{"revision":1,"type":"lost","first_sequence":4,"first":8,"last":9,"observed_at_ms":3,"changes":[{"op":"set","path":"/b","value":"known","revision":4}]}"#;
    let mut writing = command(WRITE);
    writing.arg("--json").arg(dir.path().join("another"));
    let refused = run(writing, with_changes);
    assert_eq!(code(&refused), 1);
    let told = stderr(&refused);
    assert!(told.contains("line 1: a loss that tells changes"), "{told}");
}

#[test]
fn the_first_sight_of_a_cluster_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let (first, last) = (Revision(1), Revision(58));
    journal(
        dir.path(),
        vec![
            NewRecord::gap_opened(first, last, GapReason::Baseline, Timestamp(0)),
            changes(58, vec![set("/a", "x").at(Revision(17))]),
            NewRecord::gap_closed(first, last, GapReason::Baseline, Timestamp(0)),
        ],
    );
    assert_eq!(round(dir.path()), b"17:/a=x\n");
    assert_eq!(code(&check(dir.path())), 0);
}

#[test]
fn text_written_by_hand_becomes_a_journal_with_its_state() {
    let dir = TempDir::new().unwrap();
    let text = b"5:/a=one\n5:/b=two\n\n9:/c=x\n7:/late=y\n12:/a\n";
    let written = write(dir.path(), text);
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    let reader = cairn_journal::Reader::open(dir.path()).unwrap();
    let state = reader.state(None).unwrap();
    assert_eq!(state.revision, Revision(12));
    let files: Vec<_> = state
        .files
        .iter()
        .map(|(path, kv)| (&path[..], kv.revision.0))
        .collect();
    assert_eq!(files, [(&b"/b"[..], 5), (b"/c", 9), (b"/late", 7)]);
}

#[test]
fn lines_that_cannot_be_read_are_named_and_what_came_before_is_kept() {
    for (text, told) in [
        (
            &b"1:/a=x\n2:/b\nnonsense\n4:/d\n"[..],
            "line 3: no revision",
        ),
        (b"1:/a=x\n\n3:/b=\\q\n", "line 3: column 6: unknown escape"),
    ] {
        let dir = TempDir::new().unwrap();
        let written = write(dir.path(), text);
        assert_eq!(code(&written), 1);
        assert!(stderr(&written).contains(told), "{}", stderr(&written));
        assert!(stdout(&dump(dir.path())).starts_with("1:/a=x\n"));
    }
}

#[test]
fn a_line_without_a_newline_at_the_end_counts() {
    let dir = TempDir::new().unwrap();
    assert_eq!(code(&write(dir.path(), b"1:/a=x")), 0);
    assert_eq!(stdout(&dump(dir.path())), "1:/a=x\n");
}

#[test]
fn nothing_is_an_empty_journal() {
    let dir = TempDir::new().unwrap();
    assert_eq!(code(&write(dir.path(), b"")), 0);
    assert_eq!(stdout(&dump(dir.path())), "");
    assert_eq!(code(&check(dir.path())), 0);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    journal(dir.path(), vec![changes(1, vec![set("/a", "x")])]);
    let before = fs::read(segment(dir.path())).unwrap();
    let written = write(dir.path(), b"2:/b=y\n");
    assert_eq!(code(&written), 4);
    assert!(
        stderr(&written).contains("is not empty"),
        "{}",
        stderr(&written)
    );
    assert_eq!(fs::read(segment(dir.path())).unwrap(), before);
}

#[test]
fn what_is_no_journal_and_what_is_no_command_line_have_codes_of_their_own() {
    let dir = TempDir::new().unwrap();
    assert_eq!(code(&dump(dir.path())), 4);
    assert_eq!(code(&dump(&dir.path().join("absent"))), 4);
    let mut wrong = command(DUMP);
    wrong.args(["--frobnicate", "x"]);
    assert_eq!(code(&run(wrong, b"")), 64);
    let mut help = command(WRITE);
    help.arg("--help");
    let help = run(help, b"");
    assert_eq!(code(&help), 0);
    assert!(stdout(&help).contains("Exit codes"));
}

/// A bit flips in the middle of an acknowledged record: all before it is printed, and the error
/// says where it is.
#[test]
fn damage_is_reported_after_everything_valid_was_printed() {
    let dir = TempDir::new().unwrap();
    let records = (1..=100).map(|n| changes(n, vec![set("/a", format!("body {n}."))]));
    journal(dir.path(), records.collect());
    let file = segment(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes
        .windows(8)
        .position(|bytes| bytes == b"body 50.")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();

    let output = dump(dir.path());
    assert_eq!(code(&output), 2);
    let expected: String = (1..50).map(|n| format!("{n}:/a=body {n}.\n")).collect();
    assert_eq!(stdout(&output), expected);
    let told = stderr(&output);
    for part in [file.to_str().unwrap(), "offset", "49"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(code(&check(dir.path())), 2);
}

#[test]
fn a_torn_tail_is_mentioned_and_only_a_check_calls_it_out() {
    let dir = TempDir::new().unwrap();
    journal(
        dir.path(),
        (1..=3).map(|n| changes(n, vec![set("/a", "x")])).collect(),
    );
    // The crash of the next start tears its first record.
    let journal = open(dir.path(), Options::default());
    let record = changes(4, vec![set("/a", "torn".repeat(100))]);
    journal.append_and_commit(record).unwrap();
    drop(journal);
    let torn = segments(dir.path())
        .iter()
        .rev()
        .find_map(|file| {
            let bytes = fs::read(file).unwrap();
            let at = bytes.windows(8).position(|bytes| bytes == b"torntorn")?;
            Some((file.clone(), bytes, at))
        })
        .unwrap();
    let (file, mut bytes, at) = torn;
    // The end of the record never reached the disk.
    bytes[at + 64..].fill(0);
    fs::write(&file, bytes).unwrap();

    let output = dump(dir.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stdout(&output), "1:/a=x\n2:/a=x\n3:/a=x\n");
    assert!(stderr(&output).contains("torn tail"), "{}", stderr(&output));
    assert_eq!(code(&check(dir.path())), 1);
}

#[test]
fn a_closed_pipe_ends_the_dump_quietly() {
    let dir = TempDir::new().unwrap();
    let records = (1..=40).map(|n| changes(n, vec![set("/a", vec![b'x'; 100_000])]));
    journal(dir.path(), records.collect());
    let mut child = command(DUMP)
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = Vec::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_until(b'=', &mut line).unwrap();
    assert_eq!(line, b"1:/a=");
    drop(out);
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(told, "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_journal_can_be_dumped_while_it_is_written() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), Options::default());
    journal
        .append_and_commit(changes(1, vec![set("/a", "x")]))
        .unwrap();
    let output = dump(dir.path());
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "1:/a=x\n"));
    journal
        .append_and_commit(changes(2, vec![set("/a", "y")]))
        .unwrap();
    assert_eq!(stdout(&dump(dir.path())), "1:/a=x\n2:/a=y\n");
    journal.close().unwrap();
}

/// Any text that a dump could be, equal and falling revisions included.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let path = prop::collection::vec(any::<u8>(), 0..12);
    let body = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec((1_i64..30, path, body), 0..60).prop_map(|lines| {
        let mut text = Vec::new();
        for (revision, path, body) in lines {
            cairn_tools::forms::text::write_line(
                &mut text,
                Revision(revision),
                &path,
                body.as_deref(),
            );
        }
        text
    })
}

proptest! {
    // Each case starts two processes and syncs a journal.
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_written_is_dumped_again(text in any_text()) {
        let dir = TempDir::new().unwrap();
        let written = write(dir.path(), &text);
        prop_assert_eq!(code(&written), 0, "{}", stderr(&written));
        let output = dump(dir.path());
        prop_assert_eq!(code(&output), 0, "{}", stderr(&output));
        prop_assert_eq!(output.stdout, text);
    }
}
