//! Damage: what was acknowledged is reported when it is damaged, never cut; repair keeps all the
//! rest and says what is lost.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use cairn_journal::{
    Change, Entry, Error, GapReason, Journal, NewRecord, Options, Reader, Record, Revision,
    Sequence, Timestamp, repair,
};

fn small() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    options.max_payload_bytes = 16 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

fn change(n: i64) -> NewRecord {
    let value = vec![u8::try_from(n % 251).unwrap(); 500];
    NewRecord::changes(Revision(n), vec![Change::set("/k", value)], Timestamp(n))
}

fn fill(dir: &Path, revisions: std::ops::RangeInclusive<i64>) {
    let (journal, _) = Journal::open(dir, small()).unwrap();
    for n in revisions {
        journal.append_and_commit(change(n)).unwrap();
    }
}

fn records(dir: &Path) -> Vec<Record> {
    Reader::open(dir)
        .unwrap()
        .records()
        .map(Result::unwrap)
        .collect()
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all
}

#[test]
fn a_torn_last_record_is_cut_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1..=20);
    let last = records(dir.path()).pop().unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(&*last.location.file)
        .unwrap();
    file.set_len(last.location.offset + last.location.length - 9)
        .unwrap();

    let (journal, recovery) = Journal::open(dir.path(), small()).unwrap();
    assert_eq!(recovery.valid_to, Sequence(19));
    assert_eq!(recovery.maybe_lost_from, Some(Sequence(20)));
    assert!(recovery.torn_bytes > 500);
    let torn = fs::read(recovery.torn_file.unwrap()).unwrap();
    assert_eq!(torn.len() as u64, recovery.torn_bytes);
    journal.append_and_commit(change(21)).unwrap();
    drop(journal);
    let all = records(dir.path());
    assert_eq!(all.last().unwrap().sequence, Sequence(20));
    assert_eq!(all.last().unwrap().revision, Revision(21));
}

/// A segment is called `NEXT` until it is given its name. An error named the file that it was going
/// to be, and who looked for that found none.
#[test]
fn damage_in_the_segment_that_has_no_name_yet_is_reported_of_the_file_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1..=20);
    let victim = &records(dir.path())[9].location;
    flip(&victim.file, victim.offset + 100);
    let next = dir.path().join("NEXT");
    fs::rename(segments(dir.path()).pop().unwrap(), &next).unwrap();
    let opened = Journal::open(dir.path(), small()).unwrap_err();
    let read = Reader::open(dir.path()).unwrap().records();
    let read = read.last().unwrap().unwrap_err();
    for error in [opened, read] {
        assert!(
            matches!(&error, Error::Corrupt { path, .. } if *path == next),
            "{error}"
        );
        assert!(error.to_string().contains("/NEXT: damaged at"), "{error}");
    }
    assert!(next.exists());
    repair(dir.path()).unwrap();
    assert!(records(dir.path()).len() >= 18);
}

#[test]
fn a_flipped_bit_below_the_synced_sequence_is_corruption_until_repaired() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1..=20);
    let whole = records(dir.path());
    let victim = &whole[9];
    let path = victim.location.file.to_path_buf();
    let before = fs::read(&path).unwrap();
    flip(&path, victim.location.offset + 100);

    let error = Journal::open(dir.path(), small()).unwrap_err();
    let Error::Corrupt {
        path: named,
        offset,
        sequence,
        revision,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((named, *offset), (&path, victim.location.offset));
    assert_eq!((*sequence, *revision), (Sequence(10), Revision(9)));
    assert_eq!(segments(dir.path()).len(), 1, "nothing was changed");
    let read: Vec<_> = Reader::open(dir.path()).unwrap().records().collect();
    assert_eq!(read.len(), 10);
    assert!(read[9].is_err());

    let report = repair(dir.path()).unwrap();
    println!("{report}");
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].lost, Some((Sequence(10), Sequence(10))));
    assert_eq!(
        report.damaged[0].revisions,
        Some((Revision(10), Revision(10)))
    );
    let mut damaged = before;
    damaged[usize::try_from(victim.location.offset).unwrap() + 100] ^= 4;
    assert_eq!(
        fs::read(report.damaged[0].kept.as_ref().unwrap()).unwrap(),
        damaged
    );

    let (journal, recovery) = Journal::open(dir.path(), small()).unwrap();
    assert_eq!(recovery.valid_to, Sequence(20));
    let gap = journal.end().open_gap.unwrap();
    assert_eq!(
        (gap.first, gap.last, gap.reason),
        (Revision(10), Revision(10), GapReason::Damage)
    );
    journal.append_and_commit(change(21)).unwrap();
    let kept = records(dir.path());
    for (old, new) in whole.iter().zip(&kept) {
        assert_eq!(old.sequence, new.sequence);
        if old.sequence == Sequence(10) {
            assert!(matches!(new.entry, Entry::Lost { .. }));
        } else {
            assert_eq!((&old.entry, old.revision), (&new.entry, new.revision));
        }
    }
    assert_eq!(kept.len(), 21);
    drop(journal);
    assert!(repair(dir.path()).unwrap().damaged.is_empty());

    // A difference taken from the whole state makes it good.
    let (journal, _) = Journal::open(dir.path(), small()).unwrap();
    assert!(journal.end().open_gap.is_some());
    for record in [
        NewRecord::gap_opened(gap.first, Revision(22), gap.reason, Timestamp(0)),
        NewRecord::gap_opened(
            gap.first,
            Revision(22),
            GapReason::HistoryDiscarded,
            Timestamp(0),
        ),
        NewRecord::gap_closed(
            gap.first,
            Revision(22),
            GapReason::HistoryDiscarded,
            Timestamp(0),
        ),
    ] {
        journal.append_and_commit(record).unwrap();
    }
    assert_eq!(journal.end().open_gap, None);
}

#[test]
fn every_kind_of_damage_to_sealed_history_is_found_and_repaired() {
    type Harm = fn(&[PathBuf]);
    let harms: [(&str, Harm); 7] = [
        ("header", |s| flip(&s[2], 33)),
        ("header copy", |s| flip(&s[2], 2048)),
        ("emptied", |s| fs::write(&s[2], b"").unwrap()),
        ("short", |s| {
            OpenOptions::new()
                .write(true)
                .open(&s[2])
                .unwrap()
                .set_len(20_000)
                .unwrap();
        }),
        ("missing", |s| fs::remove_file(&s[2]).unwrap()),
        ("two headers", |s| {
            fs::OpenOptions::new()
                .write(true)
                .open(&s[2])
                .unwrap()
                .write_all_at(&[0; 4096], 0)
                .unwrap();
            fs::OpenOptions::new()
                .write(true)
                .open(&s[3])
                .unwrap()
                .write_all_at(&[0; 512], 0)
                .unwrap();
        }),
        ("oldest missing", |s| fs::remove_file(&s[0]).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 1..=600);
        let whole = records(dir.path());
        let files = segments(dir.path());
        assert!(files.len() > 4);
        harm(&files);
        let error = Journal::open(dir.path(), small()).unwrap_err();
        assert!(error.is_corruption(), "{name}: {error}");
        let reading = Reader::open(dir.path())
            .unwrap()
            .records()
            .find_map(Result::err);
        assert!(
            name == "oldest missing" || reading.is_some_and(|e| e.is_corruption()),
            "{name}"
        );

        let report = repair(dir.path()).unwrap();
        println!("--- {name}\n{report}");
        let lost: Vec<_> = report.damaged.iter().filter_map(|d| d.lost).collect();
        let (journal, recovery) = Journal::open(dir.path(), small()).unwrap();
        assert_eq!(recovery.torn_bytes, 0, "{name}");
        let kept = records(dir.path());
        let mut kept = kept.iter().peekable();
        for old in &whole {
            let is_lost = lost
                .iter()
                .any(|(a, b)| *a <= old.sequence && old.sequence <= *b);
            if is_lost {
                // The record of the loss stands where the first of them was.
                kept.next_if(|new| matches!(new.entry, Entry::Lost { .. }));
            } else if !matches!(old.entry, Entry::Seal { .. }) {
                let new = kept.next().unwrap();
                assert_eq!(old.revision, new.revision, "{name}");
                assert_eq!(old.entry, new.entry, "{name}");
            }
        }
        assert_eq!(kept.next(), None, "{name}");
        assert_eq!(
            lost.is_empty(),
            ["header", "header copy"].contains(&name),
            "{name}"
        );
        assert_eq!(journal.end().open_gap.is_some(), !lost.is_empty(), "{name}");
        drop(journal);
        assert!(repair(dir.path()).unwrap().damaged.is_empty(), "{name}");
    }
}

/// The story: the newest segment's header was damaged. The persister named revision 70 as the last
/// good one, which was that of the segment before at *its* beginning; `dumpjournal` named 84.
#[test]
fn who_opens_and_who_reads_name_one_place_and_one_last_good_revision() {
    let scratch = tempfile::tempdir().unwrap();
    let sound = scratch.path().join("sound");
    fill(&sound, 1..=150);
    fill(&sound, 151..=300);
    let files = segments(&sound);
    assert!(files.len() >= 3, "{files:?}");
    let mut compared = 0;
    let compare = |damaged: &Path| {
        let opened = Journal::open(damaged, small()).err()?;
        let read = Reader::open(damaged).and_then(|reader| {
            let mut records = reader.records();
            records.find_map(Result::err).map_or(Ok(()), Err)
        });
        let read = read.expect_err("who opens it finds damage");
        assert_eq!(opened.to_string(), read.to_string());
        Some(())
    };
    for (n, file) in files.iter().enumerate() {
        let bytes = fs::metadata(file).unwrap().len();
        // The header's blocks, and a place in each of many records.
        for offset in (0..bytes).step_by(4_096 + 37) {
            let damaged = scratch.path().join(format!("{n}-{offset}"));
            copy(&sound, &damaged);
            flip(&damaged.join(file.file_name().unwrap()), offset);
            compared += usize::from(compare(&damaged).is_some());
            fs::remove_dir_all(&damaged).unwrap();
        }
        let missing = scratch.path().join(format!("without-{n}"));
        copy(&sound, &missing);
        fs::remove_file(missing.join(file.file_name().unwrap())).unwrap();
        compared += usize::from(compare(&missing).is_some());
    }
    assert!(compared > 20, "only {compared}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
