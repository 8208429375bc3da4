//! The main job on real files: what was committed is there after anything, in order, and reading
//! sees it.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{collections::BTreeMap, fs, sync::Arc};

use bytes::Bytes;
use cairn_journal::{
    Change, EndState, Entry, Error, Gap, GapReason, Journal, NewRecord, Options, Reader, Revision,
    Sequence, Timeline, Timestamp,
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
    let path = format!("/k/{}", n % 7);
    let value = vec![u8::try_from(n % 251).unwrap(); usize::try_from(n % 600).unwrap()];
    NewRecord::changes(Revision(n), vec![Change::set(path, value)], Timestamp(n))
}

fn revisions(reader: &Reader) -> Vec<i64> {
    reader
        .records()
        .map(Result::unwrap)
        .filter(|r| matches!(r.entry, Entry::Changes { .. }))
        .map(|r| r.revision.0)
        .collect()
}

#[test]
fn what_is_committed_is_read_back_across_segments_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    let mut next = 1;
    for life in 0..5 {
        let (journal, recovery) = Journal::open(&dir, small()).unwrap();
        assert_eq!(recovery.created, life == 0);
        assert_eq!(
            recovery.maybe_lost_from.is_some(),
            life > 0 && life % 2 == 0,
            "life {life}"
        );
        assert_eq!(recovery.torn_bytes, 0);
        for _ in 0..500 {
            journal.append_and_commit(change(next)).unwrap();
            next += 1;
        }
        assert_eq!(journal.end().revision, Revision(next - 1));
        let reader = journal.reader().unwrap();
        assert_eq!(revisions(&reader), (1..next).collect::<Vec<_>>());
        if life % 2 == 0 {
            journal.close().unwrap();
        }
    }
    let reader = Reader::open(&dir).unwrap();
    let mut expected = Sequence(0);
    let mut records = reader.records();
    for record in &mut records {
        let record = record.unwrap();
        assert_eq!(record.sequence, expected.next());
        assert!(record.synced <= expected);
        expected = record.sequence;
    }
    assert_eq!(records.end_state(), EndState::Clean);
    assert!(fs::read_dir(&dir).unwrap().count() > 20, "rotated");

    for from in [1, 2, 77, 1000, 2499, 2500] {
        let first = reader
            .records_from_revision(Revision(from))
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(first.revision, Revision(from));
    }
    for from in [1, 2, 77, 1000, expected.0] {
        let first = reader.records_from(Sequence(from)).next().unwrap().unwrap();
        assert_eq!(first.sequence, Sequence(from));
    }
    assert!(
        reader
            .records_from_revision(Revision(2501))
            .next()
            .is_none()
    );

    let whole = reader.state(None).unwrap();
    assert_eq!(whole.files.len(), 7);
    assert_eq!(whole.revision, Revision(2500));
    for at in [1, 5, 700, 2499] {
        let mut model: BTreeMap<Bytes, Revision> = BTreeMap::new();
        for n in 1..=at {
            model.insert(format!("/k/{}", n % 7).into(), Revision(n));
        }
        let then = reader.state(Some(Revision(at))).unwrap();
        let found: BTreeMap<_, _> = then
            .files
            .into_iter()
            .map(|(p, kv)| (p, kv.revision))
            .collect();
        assert_eq!(found, model);
    }
    assert!(matches!(
        reader.state(Some(Revision(2501))),
        Err(Error::NotInHistory { .. })
    ));
}

#[test]
fn many_writers_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), Options::default()).unwrap();
    let journal = Arc::new(journal);
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let journal = journal.clone();
            std::thread::spawn(move || {
                (0..50)
                    .map(|_| {
                        let sequence = journal.append_and_commit(change(1)).unwrap();
                        assert!(journal.end().durable >= sequence);
                        sequence
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut given: Vec<_> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    given.sort();
    assert_eq!(given, (1..=800).map(Sequence).collect::<Vec<_>>());
    println!("800 commits by 16 writers took {} syncs", journal.syncs());
    assert!(journal.syncs() < 800);
}

/// The story: a writer that had lost its place appended older revisions; every state behind them
/// was wrong.
#[test]
fn revisions_do_not_fall_within_a_timeline() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), small()).unwrap();
    journal.append(change(5)).unwrap();
    journal.append(change(5)).unwrap();
    for falling in [change(4), NewRecord::watermark(Revision(4), Timestamp(1))] {
        let error = journal.append(falling).unwrap_err();
        assert!(
            matches!(
                error,
                Error::RevisionFalls {
                    revision: Revision(4),
                    covered: Revision(5)
                }
            ),
            "{error}"
        );
    }
    // A refused record is no failure of the journal, and takes no sequence.
    let timeline = Timeline {
        id: "b".to_owned(),
        parent: Some("a".to_owned()),
        at: Revision(3),
        kept: true,
        observed_at: Timestamp(1),
    };
    assert_eq!(
        journal
            .append(NewRecord::timeline(Revision(3), timeline))
            .unwrap(),
        Sequence(3)
    );
    let sequence = journal.append_and_commit(change(4)).unwrap();
    assert_eq!(sequence, Sequence(4));
    journal.close().unwrap();
}

#[test]
fn a_sequence_of_another_journal_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), small()).unwrap();
    let error = journal.commit(Sequence(7)).unwrap_err();
    assert!(matches!(error, Error::NotAppended { .. }), "{error}");
    let sequence = journal.append_and_commit(change(1)).unwrap();
    assert_eq!(journal.commit(sequence).unwrap(), sequence);
}

/// The story: an operator removed `LOCK` to get rid of a stale one, started a second writer, and
/// both acknowledged.
#[test]
fn a_writer_whose_lock_was_removed_acknowledges_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = Journal::open(dir.path(), small()).unwrap();
    first.append_and_commit(change(1)).unwrap();
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    let (second, _) = Journal::open(dir.path(), small()).unwrap();
    let error = first.append_and_commit(change(2)).unwrap_err();
    assert!(
        error.to_string().contains("lock file was removed"),
        "{error}"
    );
    assert!(matches!(
        first.append(change(3)),
        Err(Error::Poisoned { .. })
    ));
    second.append_and_commit(change(2)).unwrap();
    second.close().unwrap();
    let found = Reader::open(dir.path()).unwrap().records();
    let found = found.filter(|r| matches!(r.as_ref().unwrap().entry, Entry::Changes { .. }));
    assert_eq!(found.count(), 2);
}

#[test]
fn context_is_known_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    let timeline = Timeline {
        id: "a".to_owned(),
        parent: None,
        at: Revision(58),
        kept: false,
        observed_at: Timestamp(1),
    };
    let gap = Gap {
        first: Revision(10),
        last: Revision(70),
        reason: GapReason::HistoryDiscarded,
    };
    for step in 0..4 {
        let (journal, _) = Journal::open(dir.path(), small()).unwrap();
        let end = journal.end();
        assert_eq!(end.timeline.is_some(), step > 0);
        assert_eq!(end.open_gap, (step == 2).then_some(gap));
        assert_eq!(end.revision.0, [0, 9, 9, 70][step]);
        match step {
            0 => {
                journal
                    .append(NewRecord::timeline(Revision(0), timeline.clone()))
                    .unwrap();
                journal.append_and_commit(change(9)).unwrap();
            }
            1 => {
                let opened = NewRecord::gap_opened(gap.first, gap.last, gap.reason, Timestamp(2));
                journal.append(opened).unwrap();
                journal.append_and_commit(change(70)).unwrap();
            }
            2 => {
                let closed = NewRecord::gap_closed(gap.first, gap.last, gap.reason, Timestamp(2));
                journal.append_and_commit(closed).unwrap();
            }
            _ => {}
        }
    }
    let reader = Reader::open(dir.path()).unwrap();
    assert!(matches!(
        reader.state(Some(Revision(69))),
        Err(Error::NotSeen {
            before: Some(Revision(9)),
            after: Some(Revision(70)),
            ..
        })
    ));
    assert_eq!(
        reader.state(Some(Revision(70))).unwrap().timeline,
        Some(timeline)
    );
}

#[test]
fn what_is_no_journal_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let error = Journal::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::NotAJournal { .. }), "{error}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing was put there"
    );
    assert!(matches!(
        Reader::open(dir.path()),
        Err(Error::NotAJournal { .. })
    ));
    assert!(matches!(
        Journal::open(&dir.path().join("letter.txt"), small()),
        Err(Error::Io { .. })
    ));
}

/// The story: a file of somebody else that happened to be called `NEXT` was removed as if it were
/// ours.
#[test]
fn a_file_of_this_name_that_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let next = dir.path().join("NEXT");
    for has_segments in [false, true] {
        if has_segments {
            fs::remove_file(&next).unwrap();
            drop(Journal::open(dir.path(), small()).unwrap());
        }
        fs::write(&next, "dear").unwrap();
        let error = Journal::open(dir.path(), small()).unwrap_err();
        assert!(matches!(error, Error::ForeignFile { .. }), "{error}");
        assert!(cairn_journal::repair(dir.path()).is_err());
        assert_eq!(fs::read(&next).unwrap(), b"dear");
    }
    // One that was never used, and one of which power failed while its header was written, are
    // ours.
    for ours in [vec![], vec![0; 9000], [b"CAIRNSEG", &[1; 504][..]].concat()] {
        fs::write(&next, ours).unwrap();
        drop(Journal::open(dir.path(), small()).unwrap());
        assert!(!next.exists());
    }
    // One that has no sound header, and yet holds something, is kept, by opening and by repair.
    let content = [&[0; 5000][..], b"dear"].concat();
    for (name, opens) in [("NEXT.bad", true), ("NEXT.2.bad", false)] {
        let content = [&content[..], name.as_bytes()].concat();
        fs::write(&next, &content).unwrap();
        if opens {
            let (_, recovery) = Journal::open(dir.path(), small()).unwrap();
            assert_eq!(recovery.torn_file, Some(dir.path().join(name)));
        } else {
            let report = cairn_journal::repair(dir.path()).unwrap();
            assert_eq!(report.damaged[0].kept, Some(dir.path().join(name)));
        }
        assert!(!next.exists());
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), content);
    }
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), small()).unwrap();
    let error = Journal::open(dir.path(), small()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    assert!(error.is_retryable());
    drop(journal);
    Journal::open(dir.path(), small()).unwrap();
}

#[test]
fn too_large_a_record_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), small()).unwrap();
    let big = NewRecord::changes(
        Revision(1),
        vec![Change::set("/a", vec![0; 20 << 10])],
        Timestamp(0),
    );
    assert!(matches!(journal.append(big), Err(Error::TooLarge { .. })));
    assert_eq!(journal.append_and_commit(change(1)).unwrap(), Sequence(1));
}
