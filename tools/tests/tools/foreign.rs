//! Journals of other programs: golden files, built byte by byte from the description of each
//! format, dump and import exactly; torn and damaged ones are told apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use cairn_tools::forms::foreign::file::{ForeignFile, Format};
use cairn_tools::forms::text::Line;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::run::{DIFF, DUMP, WRITE, code, stderr, stdout, with};

const BLOCKS: &str = "original.journal";
const LOG: &str = "doozer-journal.log";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn import(file: &Path, arguments: &[&str]) -> (TempDir, Output) {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("journal");
    let mut all = vec!["--import", file.to_str().unwrap(), target.to_str().unwrap()];
    all.extend(arguments);
    let output = with(WRITE, &all, b"");
    (dir, output)
}

fn dump_of(dir: &TempDir) -> String {
    let path = dir.path().join("journal");
    stdout(&with(DUMP, &[path.to_str().unwrap()], b""))
}

/// Where the entries of a golden file begin, as `--headers` tells.
fn offsets(name: &str) -> Vec<usize> {
    let path = golden(name);
    let output = with(DUMP, &["--headers", path.to_str().unwrap()], b"");
    stdout(&output)
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect()
}

/// A golden file, changed, in a directory of its own.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    let mut bytes = fs::read(golden(name)).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn golden_files_dump_exactly() {
    for (name, text) in [(BLOCKS, "original.txt"), (LOG, "doozer-journal.txt")] {
        let path = golden(name);
        let output = with(DUMP, &[path.to_str().unwrap()], b"");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(stdout(&output), fs::read_to_string(golden(text)).unwrap());
        assert_eq!(stderr(&output), "");
    }
    let path = golden(BLOCKS);
    let raw = with(DUMP, &["--raw", path.to_str().unwrap()], b"");
    assert_eq!(raw.stdout, fs::read(golden("original.raw")).unwrap());
}

#[test]
fn golden_files_import_exactly() {
    for (name, text) in [(BLOCKS, "original.txt"), (LOG, "doozer-journal.txt")] {
        let (dir, output) = import(&golden(name), &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("7 changes"), "{}", stderr(&output));
        assert_eq!(dump_of(&dir), fs::read_to_string(golden(text)).unwrap());
        // Also when compared with where it came from.
        let journal = dir.path().join("journal");
        let pair = [golden(name), journal].map(|path| path.to_str().unwrap().to_owned());
        let same = with(DIFF, &[&pair[0], &pair[1]], b"");
        assert_eq!(code(&same), 0, "{}{}", stdout(&same), stderr(&same));
    }
}

#[test]
fn the_state_of_a_golden_file_is_the_newest_of_each_path() {
    let path = golden(LOG);
    let state = with(DUMP, &["--state", path.to_str().unwrap()], b"");
    assert_eq!(
        stdout(&state),
        "91:/app/a=new|with|bars\n95:/app/bytes=\\xff\\x00|\n94:/app/empty=\n\
         92:/app/multi=one\\ntwo\\n00000012 no entry\\n\n"
    );
    let then = ["--state", "--at-revision", "91", path.to_str().unwrap()];
    assert_eq!(
        stdout(&with(DUMP, &then, b"")),
        "91:/app/a=new|with|bars\n90:/app/b=as it was found\n"
    );
}

/// Every length that a crash can leave of the last entry.
#[test]
fn an_incomplete_last_entry_is_a_torn_tail() {
    for (name, text) in [(BLOCKS, "original.txt"), (LOG, "doozer-journal.txt")] {
        let whole = fs::read(golden(name)).unwrap().len();
        let last = *offsets(name).last().unwrap();
        let expected = fs::read_to_string(golden(text)).unwrap();
        let kept = expected.trim_end().rfind('\n').unwrap() + 1;
        for length in [last + 1, last + 8, last + 9, last + 21, whole - 1] {
            let (_dir, path) = changed(name, |bytes| bytes.truncate(length));
            let (dir, output) = import(&path, &[]);
            let told = stderr(&output);
            assert_eq!(code(&output), 0, "{told}");
            assert!(told.contains("torn tail"), "{told}");
            assert!(told.contains(&format!("from offset {last} ")), "{told}");
            assert_eq!(dump_of(&dir), expected[..kept]);
            let check = with(DUMP, &["--check", path.to_str().unwrap()], b"");
            assert_eq!(code(&check), 1, "{}", stderr(&check));
        }
    }
}

/// One bit in the middle: what is before it is kept, the error names the offset, and only on demand
/// the rest is read.
#[test]
fn damage_in_the_middle_is_an_error_that_says_where() {
    for (name, at_in_entry) in [(BLOCKS, 30), (BLOCKS, 3), (BLOCKS, 22), (LOG, 3), (LOG, 8)] {
        let starts = offsets(name);
        let (_dir, path) = changed(name, |bytes| bytes[starts[2] + at_in_entry] ^= 0x40);
        let dump = with(DUMP, &[path.to_str().unwrap()], b"");
        assert_eq!(code(&dump), 2);
        assert_eq!(stdout(&dump).lines().count(), 2);
        let told = stderr(&dump);
        assert!(told.contains(&format!("offset {}", starts[2])), "{told}");
        let resumes = format!("begins at offset {}", starts[3]);
        assert!(told.contains(&resumes), "{told}");

        let (dir, output) = import(&path, &[]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert_eq!(dump_of(&dir).lines().count(), 2);

        let (dir, output) = import(&path, &["--skip-damaged"]);
        let told = stderr(&output);
        assert_eq!(code(&output), 3, "{told}");
        let left_out = format!("left out: offset {} to {}", starts[2], starts[3]);
        assert!(told.contains(&left_out), "{told}");
        assert_eq!(dump_of(&dir).lines().count(), 6);
    }
}

#[test]
fn a_file_that_is_none_of_these_is_refused_and_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "59:/a=one\n60:/b=two and some more text\n").unwrap();
    let (target, output) = import(&path, &[]);
    let told = stderr(&output);
    assert_eq!(code(&output), 1, "{told}");
    assert!(
        told.contains("offset 0") && told.contains("eight decimal digits"),
        "{told}"
    );
    assert!(!target.path().join("journal").exists());
    assert_eq!(code(&with(DUMP, &[path.to_str().unwrap()], b"")), 4);
}

/// It was counted as a whole journal of the Go program, as if something in it said so.
#[test]
fn a_check_of_an_empty_file_says_that_it_is_empty() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("empty");
    fs::write(&path, b"").unwrap();
    let output = with(DUMP, &["--check", path.to_str().unwrap()], b"");
    assert_eq!(code(&output), 0);
    let told = stderr(&output);
    assert!(
        told.contains("an empty file") && !told.contains("whole"),
        "{told}"
    );
}

/// A pipe has no length, and must not be taken for an empty file.
#[test]
fn a_pipe_is_refused() {
    let (_dir, output) = import(Path::new("/dev/stdin"), &[]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("no regular file"),
        "{}",
        stderr(&output)
    );
    assert_eq!(code(&with(DUMP, &["/dev/stdin"], b"")), 4);
}

/// The first entry is damaged, so nothing tells the format: it can be named.
#[test]
fn with_a_damaged_beginning_the_format_can_be_named() {
    for (name, format) in [(BLOCKS, "blocks"), (LOG, "text-log")] {
        let (_dir, path) = changed(name, |bytes| bytes[4] ^= 0x40);
        assert_eq!(code(&import(&path, &[]).1), 1);
        let (dir, output) = import(&path, &["--format", format, "--skip-damaged"]);
        assert_eq!(code(&output), 3, "{}", stderr(&output));
        assert_eq!(dump_of(&dir).lines().count(), 6);
    }
}

/// A block whose checksum is right and whose data is nonsense was written so: no torn tail, even at
/// the end.
#[test]
fn a_whole_block_of_nonsense_is_an_error() {
    // SHA-1 of "nonsense", as sha1sum gives it.
    let (_dir, path) = changed(BLOCKS, |bytes| {
        let sum = [
            0xcb, 0x1d, 0xc4, 0x74, 0xe1, 0x85, 0x77, 0x7d, 0xad, 0x21, 0x8b, 0x7d, 0x60, 0xf2,
            0x78, 0x17, 0x23, 0xd8, 0x19, 0x0b,
        ];
        bytes.extend_from_slice(&sum);
        bytes.extend_from_slice(&8_i32.to_le_bytes());
        bytes.extend_from_slice(b"nonsense");
    });
    let output = with(DUMP, &[path.to_str().unwrap()], b"");
    assert_eq!(stdout(&output).lines().count(), 7);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
}

/// What is read of these bytes, damage passed over.
fn read_all(bytes: &[u8], format: Format) -> Vec<Line> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, bytes).unwrap();
    let _ = ForeignFile::detect(&path);
    ForeignFile::new(&path, format)
        .entries(true)
        .unwrap()
        .map(|entry| entry.unwrap().line)
        .collect()
}

/// Whether `some` is `all` with at most `missing` left out.
fn is_most_of(some: &[Line], all: &[Line], missing: usize) -> bool {
    let mut rest = all.iter();
    some.iter().all(|line| rest.any(|other| other == line)) && some.len() + missing >= all.len()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A SHA-1 covers all of a block but its length, so damage costs the blocks that it touches and
    /// invents none.
    #[test]
    fn damage_to_blocks_costs_what_it_touches(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let mut bytes = fs::read(golden(BLOCKS)).unwrap();
        let whole = read_all(&bytes, Format::Blocks);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(is_most_of(&read_all(&bytes, Format::Blocks), &whole, 1));
    }

    #[test]
    fn bytes_from_anywhere_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        digits in "[0-9 |\\n/setdl]{0,200}",
        cut in any::<prop::sample::Index>(),
    ) {
        for format in [Format::Blocks, Format::TextLog] {
            read_all(&bytes, format);
            read_all(digits.as_bytes(), format);
        }
        for (name, format) in [(BLOCKS, Format::Blocks), (LOG, Format::TextLog)] {
            let mut golden = fs::read(golden(name)).unwrap();
            let at = cut.index(golden.len());
            golden.splice(at..at, bytes.iter().copied());
            read_all(&golden, format);
        }
    }
}
