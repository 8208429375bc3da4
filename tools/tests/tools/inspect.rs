//! Looking into a journal: JSON and back, parts of it, its state, its frames, its numbers, its
//! tail.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use cairn_journal::{Change, GapReason, NewRecord, Options, Revision, Timeline, Timestamp};
use tempfile::TempDir;

use crate::run::{
    DIFF, DUMP, VIEWS, WRITE, code, command, dumped, open, segments, stderr, stdout, with,
};

/// 2026-01-31T10:00:00Z and so many minutes.
fn minute(minutes: i64) -> Timestamp {
    Timestamp(1_769_853_600_000 + minutes * 60_000)
}

fn changes(revision: i64, minutes: i64, changes: Vec<Change>) -> NewRecord {
    NewRecord::changes(Revision(revision), changes, minute(minutes))
}

fn set(path: &str, body: impl Into<Vec<u8>>) -> Change {
    Change::set(path.to_owned(), body.into())
}

/// Of everything that a journal can hold, in two segments.
fn sample(dir: &Path) {
    let journal = open(dir, Options::default());
    let timeline = Timeline {
        id: "c1".to_owned(),
        parent: None,
        at: Revision(0),
        kept: false,
        observed_at: minute(0),
    };
    let (first, last) = (Revision(60), Revision(70));
    let reason = GapReason::HistoryDiscarded;
    let binary = Change::set(&b"/\xff"[..], &b"\xfe\x00"[..]);
    for record in [
        NewRecord::timeline(Revision(0), timeline),
        changes(58, 1, vec![set("/app", "x"), set("/app/db", "one \"1\"\n")]),
        changes(59, 2, vec![set("/apple", "pie"), binary]),
        NewRecord::gap_opened(first, last, reason, minute(3)),
        changes(
            70,
            3,
            vec![
                set("/app/db", "two").at(Revision(65)),
                Change::delete("/app"),
            ],
        ),
        NewRecord::gap_closed(first, last, reason, minute(3)),
    ] {
        journal.append_and_commit(record).unwrap();
    }
    journal.close().unwrap();
    let journal = open(dir, Options::default());
    journal
        .append_and_commit(changes(71, 10, vec![Change::delete("/apple")]))
        .unwrap();
    journal
        .append_and_commit(changes(72, 20, vec![set("/z", "")]))
        .unwrap();
    journal.close().unwrap();
}

fn sampled() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    sample(dir.path());
    let path = dir.path().to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn json_says_everything_and_can_be_written_again() {
    let (_dir, path) = sampled();
    let json = dumped(&["--json", &path]);
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "timeline");
    assert_eq!(lines[1]["changes"][1]["value"], "one \"1\"\n");
    assert_eq!(lines[1]["observed_at_ms"], minute(1).0);
    assert_eq!(lines[2]["changes"][1]["path_base64"], "L/8=");
    assert_eq!(lines[2]["changes"][1]["value_base64"], "/gA=");
    assert_eq!(lines[4]["changes"][0]["revision"], 65);
    assert_eq!(lines[4]["changes"][1]["op"], "delete");

    let copy = TempDir::new().unwrap();
    let copy = copy.path().join("copy");
    let written = with(WRITE, &["--json", copy.to_str().unwrap()], json.as_bytes());
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    // Sequences, and markers of an end, are the copy's own.
    let essence = |json: &str| -> Vec<serde_json::Value> {
        let mut lines: Vec<serde_json::Value> = json
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|record: &serde_json::Value| record["type"] != "watermark")
            .collect();
        for record in &mut lines {
            record.as_object_mut().unwrap().remove("sequence");
            record.as_object_mut().unwrap().remove("synced");
        }
        lines
    };
    assert_eq!(
        essence(&dumped(&["--json", copy.to_str().unwrap()])),
        essence(&json)
    );
}

#[test]
fn a_line_that_is_no_record_is_named() {
    for (line, told) in [
        ("{", "line 1: no record in JSON"),
        ("{\"revision\":1}", "line 1: no record in JSON"),
        (
            r#"{"revision":1,"type":"changes","changes":[{"op":"set","path":"/a","value_base64":"?"}]}"#,
            "value_base64",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        let output = with(
            WRITE,
            &["--json", dir.path().to_str().unwrap()],
            line.as_bytes(),
        );
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
}

#[test]
fn parts_by_revision_time_and_path() {
    let (_dir, path) = sampled();
    for (arguments, expected) in [
        (&["--from", "71"][..], "71:/apple\n72:/z=\n"),
        (&["--from", "65", "--to", "70"], "65:/app/db=two\n70:/app\n"),
        (
            &[
                "--from",
                "2026-01-31T10:10:00Z",
                "--to",
                "2026-01-31T10:10:00Z",
            ],
            "71:/apple\n",
        ),
        (&["--from", "5 minutes ago"], ""),
        (
            &["--prefix", "/app"],
            "58:/app=x\n58:/app/db=one \"1\"\\n\n65:/app/db=two\n70:/app\n",
        ),
        (
            &["--prefix", "/app/", "--to", "60"],
            "58:/app/db=one \"1\"\\n\n",
        ),
        (
            &["--raw", "--prefix", "/app/", "--to", "60"],
            "58:/app/db=one \"1\"\n\n",
        ),
    ] {
        let mut all = arguments.to_vec();
        all.push(&path);
        assert_eq!(dumped(&all), expected, "{arguments:?}");
    }
}

#[test]
fn the_state_at_any_point() {
    let (_dir, path) = sampled();
    for (arguments, expected) in [
        (&["--prefix", "/app"][..], "65:/app/db=two\n"),
        (
            &["--at-revision", "58"],
            "58:/app=x\n58:/app/db=one \"1\"\\n\n",
        ),
        (
            &["--at-time", "2026-01-31T10:10:30Z"],
            "65:/app/db=two\n59:/\\xff=\\xfe\\x00\n",
        ),
        (
            &[
                "--at-time",
                "2026-01-31T10:01:00Z",
                "--json",
                "--prefix",
                "/app",
            ],
            "{\"revision\":58,\"type\":\"changes\",\"changes\":[{\"op\":\"set\",\"path\":\"/app\",\"value\":\"x\"}]}\n\
             {\"revision\":58,\"type\":\"changes\",\"changes\":[{\"op\":\"set\",\"path\":\"/app/db\",\"value\":\"one \\\"1\\\"\\n\"}]}\n",
        ),
    ] {
        let mut all = vec!["--state", &path];
        all.extend(arguments);
        assert_eq!(dumped(&all), expected, "{arguments:?}");
    }
    for (wrong, why) in [
        ("65", "revisions 60 to 69 are missing"),
        ("1000", "not in this journal"),
    ] {
        let output = with(DUMP, &["--state", "--at-revision", wrong, &path], b"");
        assert_eq!(code(&output), 64, "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn a_segment_alone() {
    let (dir, path) = sampled();
    let files = segments(dir.path());
    let whole = dumped(&[&path]);
    let parts: String = files
        .iter()
        .map(|file| dumped(&[file.to_str().unwrap()]))
        .collect();
    assert_eq!(parts, whole);
    let last = files.last().unwrap().to_str().unwrap();
    let state = with(DUMP, &["--state", last], b"");
    assert_eq!(code(&state), 64);
    assert!(
        stderr(&state).contains("Give the directory"),
        "{}",
        stderr(&state)
    );
    assert_eq!(code(&with(DUMP, &["--follow", last], b"")), 64);
    assert_eq!(code(&with(DUMP, &["--top", "3", last], b"")), 64);
}

/// Damage in the first segment: its frames up to there, the error, and the frames of the next one.
#[test]
fn headers_go_on_behind_damage() {
    let (dir, path) = sampled();
    let whole = dumped(&["--headers", &path]);
    for part in ["# segment 1, journal ", "timeline", "watermark", "h-crc"] {
        assert!(whole.contains(part), "{whole}");
    }
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(3).position(|bytes| bytes == b"pie").unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    let output = with(DUMP, &["--headers", "--json", &path], b"");
    assert_eq!(code(&output), 2);
    let rows = stdout(&output);
    let kinds: Vec<_> = rows
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|row| row["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        [
            "segment",
            "timeline",
            "changes",
            "segment",
            "changes",
            "changes",
            "watermark"
        ]
    );
}

#[test]
fn stats_count_what_is_there() {
    let (_dir, path) = sampled();
    let stats: serde_json::Value =
        serde_json::from_str(&dumped(&["--stats", "--json", "--top", "1", &path])).unwrap();
    for (field, expected) in [
        ("sets", 6),
        ("deletes", 2),
        ("paths", 5),
        ("keys", 3),
        ("gaps", 1),
        ("timelines", 1),
        ("files", 2),
        ("first_revision", 58),
        ("last_revision", 72),
        ("torn_bytes", 0),
    ] {
        assert_eq!(stats[field], expected, "{field} of {stats}");
    }
    assert_eq!(stats["hottest"][0]["path"], "/app");
    let text = dumped(&["--stats", &path]);
    assert!(text.contains("changes    8 (6 sets of "), "{text}");
}

/// What is written while it is followed appears, into the next segments too; and it ends as soon as
/// nobody reads, although nothing more is written.
#[test]
fn a_tail_is_followed_until_nobody_reads_it() {
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.segment_bytes = 1 << 20;
    options.max_payload_bytes = 512 << 10;
    let journal = open(dir.path(), options);
    journal
        .append_and_commit(changes(1, 0, vec![set("/a", "old")]))
        .unwrap();
    let mut child = command(DUMP)
        .args(["--follow", "--prefix", "/a", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "1:/a=old");
    for revision in 2..=6 {
        let body = vec![b'x'; 400_000];
        journal
            .append_and_commit(changes(revision, 0, vec![set("/a", body), set("/b", "y")]))
            .unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{revision}:/a=xxx")));
    }
    assert!(segments(dir.path()).len() > 1);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    journal.close().unwrap();
}

#[test]
fn a_tail_ends_once_its_end_has_passed() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), Options::default());
    let append = |revision| {
        let one = changes(revision, 0, vec![set("/a", "x")]);
        journal.append_and_commit(one).unwrap();
    };
    append(1);
    let mut child = command(DUMP)
        .args(["--follow", "--to", "2", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "1:/a=x");
    append(2);
    append(3);
    assert_eq!(lines.next().unwrap().unwrap(), "2:/a=x");
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    journal.close().unwrap();
}

/// Each way of printing, into a pipe that nobody reads.
#[test]
fn every_form_ends_quietly_when_its_pipe_is_closed() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), Options::default());
    for revision in 1..=30 {
        let many = (0..400).map(|n| set(&format!("/{revision}/{n}"), [b'x'; 300]));
        journal
            .append(changes(revision, 0, many.collect()))
            .unwrap();
    }
    journal
        .commit(journal.end().next_sequence.previous())
        .unwrap();
    let checkpoint = journal.checkpoint().unwrap().newest.unwrap();
    journal.close().unwrap();
    let other = TempDir::new().unwrap();
    drop(open(other.path(), Options::default()));
    let ends_quietly = |binary: &str, arguments: &[&str], paths: &[&Path], expected: i32| {
        let mut child = command(binary)
            .args(arguments)
            .args(paths)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = stderr(&output);
        assert!(
            !told.contains("panick") && !told.contains("cannot write"),
            "{arguments:?}: {told}"
        );
        assert_eq!(code(&output), expected, "{arguments:?}: {told}");
    };
    for view in VIEWS {
        for path in [dir.path(), checkpoint.path()] {
            ends_quietly(DUMP, view, &[path], 0);
        }
    }
    ends_quietly(DUMP, &["--follow"], &[dir.path()], 0);
    let text = dumped(&[dir.path().to_str().unwrap()]);
    let copy = other.path().join("copy");
    let half: String = text.split_inclusive('\n').step_by(2).collect();
    with(WRITE, &[copy.to_str().unwrap()], half.as_bytes());
    for view in [&[][..], &["--state"]] {
        ends_quietly(DIFF, view, &[dir.path(), &copy], 1);
    }
}

/// Each way of printing, onto a disk without room.
#[test]
fn every_form_says_that_its_output_is_full() {
    let dir = TempDir::new().unwrap();
    sample(dir.path());
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let path = dir.path().to_str().unwrap();
    for view in VIEWS {
        let output = command(DUMP)
            .args(*view)
            .arg(path)
            .stdout(full())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let told = stderr(&output);
        assert!(!told.contains("panick"), "{view:?}: {told}");
        if view == &["--check"] {
            assert_eq!(code(&output), 3, "{told}");
        } else {
            assert_eq!(code(&output), 4, "{view:?}: {told}");
            assert!(told.contains("cannot write"), "{view:?}: {told}");
        }
        // Its messages are best effort: what they are about is done.
        let output = command(DUMP).args(*view).arg(path).stderr(full()).output();
        let expected = if view == &["--check"] { 3 } else { 0 };
        assert_eq!(output.unwrap().status.code(), Some(expected), "{view:?}");
    }
}

/// The story: a FIFO in place of a segment was waited for, for ever.
#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    for make in ["mkfifo", "mkdir"] {
        let dir = TempDir::new().unwrap();
        sample(dir.path());
        let segment = segments(dir.path()).pop().unwrap();
        fs::remove_file(&segment).unwrap();
        let made = std::process::Command::new(make).arg(&segment).status();
        assert!(made.unwrap().success());
        let name = segment.file_name().unwrap().to_str().unwrap();
        for view in VIEWS {
            // From coreutils: 124 if it has not ended by then.
            let output = command("timeout")
                .args(["60", DUMP])
                .args(*view)
                .arg(dir.path())
                .output()
                .unwrap();
            let told = stderr(&output);
            assert_eq!(code(&output), 4, "{make} {view:?}: {told}");
            assert!(told.contains(name) && told.contains("not a file"), "{told}");
        }
    }
}
