//! Checkpoints and retired history, as `dumpjournal` and `diffjournal` show them.

use std::fs;
use std::path::{Path, PathBuf};

use cairn_journal::{Change, Journal, NewRecord, Options, Retention, Revision, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{DIFF, DUMP, code, dumped, open, stderr, stdout, with};

const BASE: i64 = 400;
const NEWEST: i64 = 500;

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 4 << 10;
    options.segment_bytes = 32 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

/// Five hundred changes of fifty paths; a checkpoint at 200 and at 400.
fn append(journal: &Journal, revisions: std::ops::RangeInclusive<i64>) {
    for n in revisions {
        let path = format!("/key/{:02}", n % 50);
        let change = if n % 7 == 0 {
            Change::delete(path)
        } else {
            Change::set(path, format!("value {n} {}", "x".repeat(300)))
        };
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(1_000 * n));
        journal.append_and_commit(record).unwrap();
    }
}

struct Sample {
    dir: TempDir,
    /// The same history with nothing removed.
    whole: TempDir,
}

impl Sample {
    fn new() -> Self {
        let [dir, whole] = [true, false].map(|is_retired| {
            let dir = TempDir::new().unwrap();
            let journal = open(dir.path(), options());
            append(&journal, 1..=200);
            journal.checkpoint().unwrap();
            append(&journal, 201..=BASE);
            journal.checkpoint().unwrap();
            append(&journal, BASE + 1..=NEWEST);
            if is_retired {
                let retention = Retention {
                    age: None,
                    bytes: Some(0),
                };
                let report = journal.retire(&retention).unwrap();
                assert_eq!(report.base, Some(Revision(BASE)));
                assert!(!report.segments.is_empty());
            }
            journal.close().unwrap();
            dir
        });
        Self { dir, whole }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn whole(&self) -> &str {
        self.whole.path().to_str().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(format!("{BASE:020}.ckpt"))
    }
}

fn json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_checkpoint_is_printed_as_the_state_that_it_is() {
    let sample = Sample::new();
    let file = sample.file();
    let file = file.to_str().unwrap();
    let at = ["--state", "--at-revision", "400", sample.whole()];
    for form in [
        &[][..],
        &["--json"],
        &["--raw"],
        &["--prefix", "/key/1"],
        &["--prefix", "/key/13"],
    ] {
        let expected = dumped(&[&at[..], form].concat());
        assert!(form.contains(&"/key/1") || !expected.is_empty());
        assert_eq!(dumped(&[&[file], form].concat()), expected, "{form:?}");
        assert_eq!(dumped(&[&["--state", file], form].concat()), expected);
    }
    let state = dumped(&[file]);
    let late: String = state
        .split_inclusive('\n')
        .filter(|line| (380..=390).contains(&line.split(':').next().unwrap().parse().unwrap()))
        .collect();
    assert!(!late.is_empty());
    assert_eq!(dumped(&["--from", "380", "--to", "390", file]), late);
    assert_eq!(dumped(&["--state", "--at-revision", "400", file]), state);
    for wrong in [
        &["--state", "--at-revision", "399"][..],
        &["--state", "--at-time", "now"],
        &["--from", "now"],
        &["--follow"],
    ] {
        let output = with(DUMP, &[&[file], wrong].concat(), b"");
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (64, ""),
            "{wrong:?}"
        );
        assert!(stderr(&output).contains("directory"), "{}", stderr(&output));
    }
    // Set aside under another name it is still one.
    let aside = sample.dir.path().join("aside.ckpt.bad");
    fs::copy(file, &aside).unwrap();
    assert_eq!(dumped(&[aside.to_str().unwrap()]), state);
}

#[test]
fn its_blocks_and_numbers_add_up() {
    let sample = Sample::new();
    let file = sample.file();
    let file = file.to_str().unwrap();
    let keys = dumped(&[file]).lines().count() as u64;
    let rows = json(&dumped(&["--headers", "--json", file]));
    assert_eq!(rows[0]["type"], "checkpoint");
    assert_eq!(
        (&rows[0]["revision"], &rows[0]["keys"]),
        (&BASE.into(), &keys.into())
    );
    let (footer, blocks) = rows[1..].split_last().unwrap();
    assert_eq!(
        (&footer["type"], &footer["keys_before"]),
        (&"footer".into(), &keys.into())
    );
    assert!(!blocks.is_empty());
    let mut at = 4096;
    for block in rows[1..].iter() {
        assert_eq!(block["offset"], at);
        at += block["length"].as_u64().unwrap();
    }
    assert_eq!(at, fs::metadata(file).unwrap().len());
    let text = dumped(&["--headers", file]);
    assert!(
        text.starts_with("# checkpoint of revision 400, journal "),
        "{text}"
    );
    assert!(
        text.contains("/key/0") && text.ends_with("(footer)\n"),
        "{text}"
    );
    // Of a directory: its checkpoints in one line each, then the segments.
    let text = dumped(&["--headers", sample.whole()]);
    let kinds: Vec<_> = text.lines().filter(|l| l.starts_with('#')).collect();
    assert!(
        kinds[0].starts_with("# checkpoint of revision 200"),
        "{text}"
    );
    assert!(
        kinds[1].starts_with("# checkpoint of revision 400"),
        "{text}"
    );
    assert!(kinds[2].starts_with("# segment 1,"), "{text}");

    let stats = &json(&dumped(&["--stats", "--json", "--top", "2", file]))[0];
    assert_eq!(
        (&stats["keys"], &stats["revision"]),
        (&keys.into(), &BASE.into())
    );
    assert_eq!(stats["largest"].as_array().unwrap().len(), 2);
    assert!(
        stats["largest"][0]["value_bytes"].as_u64() >= stats["largest"][1]["value_bytes"].as_u64()
    );
    assert!(dumped(&["--stats", file]).contains("state      at revision 400"));

    let checked = with(DUMP, &["--check", file], b"");
    assert_eq!(code(&checked), 0);
    assert!(stderr(&checked).contains(&format!("revision 400, {keys} keys")));
}

#[test]
fn a_damaged_checkpoint_says_where() {
    let sample = Sample::new();
    let file = sample.file();
    let whole = fs::read(&file).unwrap();
    for at in [20, 4096 + 3, 4096 + 40, whole.len() - 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        for view in [
            &["--check"][..],
            &[],
            &["--headers"],
            &["--stats"],
            &["--json"],
        ] {
            let output = with(DUMP, &[&[file.to_str().unwrap()], view].concat(), b"");
            assert_eq!(
                code(&output),
                2,
                "{view:?} with byte {at}: {}",
                stderr(&output)
            );
            assert!(
                stderr(&output).contains("00400.ckpt"),
                "{}",
                stderr(&output)
            );
        }
    }
}

/// What was removed is said, what is left is printed, and what is asked for and gone is refused.
#[test]
fn a_retired_journal_says_where_its_history_begins() {
    let sample = Sample::new();
    let (path, whole) = (sample.path(), sample.whole());
    let output = with(DUMP, &[path], b"");
    assert_eq!(code(&output), 0);
    let left = stdout(&output);
    let first: i64 = left.split(':').next().unwrap().parse().unwrap();
    assert!((2..=BASE + 1).contains(&first));
    assert_eq!(left, dumped(&["--from", &first.to_string(), whole]));
    let told = stderr(&output);
    for part in [
        &format!("history begins after revision {}", first - 1),
        "retention has removed",
        "told from revision 400 on",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(stderr(&with(DUMP, &[whole], b"")), "");
    assert_eq!(code(&with(DUMP, &["--check", path], b"")), 0);

    let gone = with(DUMP, &["--from", "2", path], b"");
    assert_eq!((code(&gone), stdout(&gone).as_str()), (64, ""));
    assert!(
        stderr(&gone).contains("Without --from"),
        "{}",
        stderr(&gone)
    );
    assert_eq!(
        dumped(&["--from", "450", path]),
        dumped(&["--from", "450", whole])
    );

    for at in ["400", "433", "500"] {
        let at = ["--state", "--at-revision", at];
        assert_eq!(
            dumped(&[&at[..], &[path]].concat()),
            dumped(&[&at[..], &[whole]].concat())
        );
    }
    assert_eq!(dumped(&["--state", path]), dumped(&["--state", whole]));
    let gone = with(DUMP, &["--state", "--at-revision", "399", path], b"");
    assert_eq!(code(&gone), 64);
    assert!(
        stderr(&gone).contains("holds 400 to 500"),
        "{}",
        stderr(&gone)
    );

    // What exists is counted with what the checkpoint knows.
    let stats = |path| json(&dumped(&["--stats", "--json", path])).remove(0);
    let (left, all) = (stats(path), stats(whole));
    for field in [
        "keys",
        "key_value_bytes",
        "last_revision",
        "newest_checkpoint",
    ] {
        assert_eq!(left[field], all[field], "{field}");
    }
    assert_eq!(
        (&left["history_after"], &all["history_after"]),
        (&(first - 1).into(), &Value::Null)
    );
    assert_eq!(
        (&left["checkpoints"], &all["checkpoints"]),
        (&1.into(), &2.into())
    );
    assert!(dumped(&["--stats", path]).contains(&format!("before revision {} is gone", first - 1)));
}

#[test]
fn journals_are_compared_where_both_have_history() {
    let sample = Sample::new();
    let file = sample.file();
    let (path, whole, file) = (sample.path(), sample.whole(), file.to_str().unwrap());
    let output = with(DIFF, &[path, whole], b"");
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (0, ""),
        "{}",
        stderr(&output)
    );
    assert!(
        !stderr(&output).contains("A: revisions 1 to"),
        "{}",
        stderr(&output)
    );
    for (a, b) in [(path, whole), (file, whole), (path, file)] {
        let output = with(DIFF, &["--state", a, b], b"");
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (0, ""),
            "{}",
            stderr(&output)
        );
    }
    let output = with(DIFF, &[file, whole], b"");
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("--state"), "{}", stderr(&output));
}

/// Every byte of a directory, by name.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// On a file system that is full, then read-only: every view prints what it always prints, and
/// changes nothing.
#[test]
fn every_view_works_where_nothing_can_be_written() {
    let sample = Sample::new();
    let disk = cairn_tests::SmallDisk::mount(8).unwrap();
    let dir = disk.path().join("journal");
    fs::create_dir(&dir).unwrap();
    for (path, bytes) in snapshot(sample.dir.path()) {
        fs::write(dir.join(path.file_name().unwrap()), bytes).unwrap();
    }
    let file = dir.join(format!("{BASE:020}.ckpt"));
    disk.fill().unwrap();
    let before = snapshot(&dir);
    let mut views = 0;
    for is_read_only in [false, true] {
        if is_read_only {
            disk.make_read_only().unwrap();
        }
        for view in crate::run::VIEWS {
            for (there, here) in [
                (file.to_str().unwrap(), sample.file()),
                (dir.to_str().unwrap(), sample.dir.path().to_owned()),
            ] {
                let output = with(DUMP, &[*view, &[there]].concat(), b"");
                let expected = with(DUMP, &[*view, &[here.to_str().unwrap()]].concat(), b"");
                assert_eq!(code(&output), 0, "{view:?}: {}", stderr(&output));
                // Frames name the file that they are in.
                if !view.contains(&"--headers") {
                    assert_eq!(stdout(&output), stdout(&expected), "{view:?}");
                }
                views += 1;
            }
        }
        let output = with(DIFF, &[dir.to_str().unwrap(), sample.path()], b"");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    assert_eq!(snapshot(&dir), before);
    println!("{views} views of a full and of a read-only disk");
}
