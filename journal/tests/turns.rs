//! Reading from a revision where revisions do not simply grow: within the difference of a gap, and
//! where a restored cluster took them back.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_journal::{
    Change, Entry, Error, GapPhase, GapReason, Journal, NewRecord, Options, Record, Retention,
    Revision, Timeline, Timestamp,
};

const NOW: Timestamp = Timestamp(1);

/// Small segments, so that what is read lies in several.
fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 1 << 10;
    options.segment_bytes = 64 << 10;
    options.preallocate = false;
    options
}

fn set(revision: i64, path: i64) -> NewRecord {
    let change = Change::set(format!("/{path}"), vec![b'x'; 300]);
    NewRecord::changes(Revision(revision), vec![change], NOW)
}

fn first_from(journal: &Journal, revision: i64) -> Record {
    let reader = journal.reader().expect("the journal is there");
    let first = reader.records_from_revision(Revision(revision)).next();
    first.expect("there is one").expect("it is whole")
}

fn is_opening(record: &Record) -> bool {
    matches!(
        record.entry,
        Entry::Gap {
            phase: GapPhase::Opened,
            ..
        }
    )
}

/// The story: reading from a revision within a gap began in the middle of its difference, and took
/// the rest of it for events.
#[test]
fn a_difference_is_read_from_its_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    journal.append(set(1, 1)).unwrap();
    let (first, last) = (Revision(2), Revision(1000));
    let reason = GapReason::HistoryDiscarded;
    journal
        .append(NewRecord::gap_opened(first, last, reason, NOW))
        .unwrap();
    for path in 0..600 {
        journal.append(set(1000, path)).unwrap();
    }
    journal
        .append(NewRecord::gap_closed(first, last, reason, NOW))
        .unwrap();
    journal.append_and_commit(set(1001, 1)).unwrap();
    for revision in [2, 500, 1000] {
        let record = first_from(&journal, revision);
        assert!(is_opening(&record), "{revision}: {record:?}");
    }
    assert_eq!(first_from(&journal, 1001).revision, Revision(1001));
}

/// The story: a journal that held more than its cluster was restored with followed it all the same,
/// and reading from a revision that both lives have began in the life that was left.
#[test]
fn revisions_taken_back_are_read_in_the_newest_life() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let timeline = |id: &str, at: i64| Timeline {
        id: id.to_owned(),
        parent: None,
        at: Revision(at),
        kept: true,
        observed_at: NOW,
    };
    journal
        .append(NewRecord::timeline(Revision(0), timeline("a", 0)))
        .unwrap();
    for revision in 1..=400 {
        journal.append(set(revision, revision)).unwrap();
    }
    let (first, last) = (Revision(101), Revision(110));
    let reason = GapReason::HistoryDiscarded;
    let opened = journal
        .append(NewRecord::gap_opened(first, last, reason, NOW))
        .unwrap();
    journal
        .append(NewRecord::timeline(Revision(100), timeline("b", 100)))
        .unwrap();
    for path in 101..=400 {
        let gone = Change::delete(format!("/{path}"));
        journal
            .append(NewRecord::changes(last, vec![gone], NOW))
            .unwrap();
    }
    journal
        .append(NewRecord::gap_closed(first, last, reason, NOW))
        .unwrap();
    for revision in 111..=300 {
        journal.append_and_commit(set(revision, revision)).unwrap();
    }
    for revision in [101, 105, 110] {
        let record = first_from(&journal, revision);
        assert_eq!(record.sequence, opened, "{revision}");
    }
    for revision in [111, 200, 300] {
        let record = first_from(&journal, revision);
        assert_eq!(record.revision, Revision(revision));
        assert!(record.sequence > opened, "{revision} of the newest life");
    }
    // The state is told of the newest life, or not at all; and never a mixture.
    let reader = journal.reader().expect("the journal is there");
    for revision in [110, 111, 200, 300] {
        let state = reader.state(Some(Revision(revision))).expect("it is known");
        let expected: BTreeSet<_> = (1..=100)
            .chain(111..=revision)
            .map(|path| Bytes::from(format!("/{path}")))
            .collect();
        assert!(state.files.keys().eq(&expected), "at {revision}");
        assert_eq!(state.timeline.expect("it has one").id, "b");
    }
    for revision in [50, 100, 105, 301, 400] {
        let told = reader.state(Some(Revision(revision)));
        assert!(
            matches!(
                told,
                Err(Error::NotInHistory { .. } | Error::NotSeen { before: None, .. })
            ),
            "at {revision}: {told:?}"
        );
    }

    // What both lives share is still read in the first.
    assert!(first_from(&journal, 50).sequence < opened);
}

/// The newest checkpoint is of a revision that the new life has not reached yet, and nothing else
/// is left of the old one: what can be told is only known once the turn has been read.
#[test]
fn a_life_that_begins_behind_the_only_checkpoint_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    for revision in 1..=400 {
        journal.append_and_commit(set(revision, revision)).unwrap();
    }
    journal.checkpoint().unwrap();
    for revision in 401..=700 {
        journal.append_and_commit(set(revision, revision)).unwrap();
    }
    let retention = Retention {
        age: None,
        bytes: Some(0),
    };
    let report = journal.retire(&retention).unwrap();
    assert_eq!(report.base, Some(Revision(400)));
    let state = |at| journal.reader().unwrap().state(Some(Revision(at)));
    let refused = |at| {
        let told = state(at);
        matches!(
            told,
            Err(Error::NotInHistory { .. } | Error::NotSeen { .. })
        )
    };
    assert!(refused(50) && refused(399), "retention has removed it");
    assert_eq!(state(400).unwrap().files.len(), 400);

    let (first, last) = (Revision(1), Revision(10));
    let reason = GapReason::HistoryDiscarded;
    let opened = NewRecord::gap_opened(first, last, reason, NOW);
    journal.append(opened).unwrap();
    let reset = Timeline {
        id: "reset".to_owned(),
        parent: None,
        at: Revision(0),
        kept: false,
        observed_at: NOW,
    };
    let turn = NewRecord::timeline(Revision(0), reset);
    journal.append(turn).unwrap();
    for path in 1..=700 {
        let gone = Change::delete(format!("/{path}"));
        let gone = NewRecord::changes(last, vec![gone], NOW);
        journal.append(gone).unwrap();
    }
    let closed = NewRecord::gap_closed(first, last, reason, NOW);
    journal.append(closed).unwrap();
    for revision in 11..=100 {
        journal.append_and_commit(set(revision, revision)).unwrap();
    }
    for at in [10, 11, 50, 100_u8] {
        let files = state(i64::from(at)).expect("it is of the new life").files;
        assert_eq!(files.len(), usize::from(at) - 10, "at {at}");
    }
    for at in [5, 101, 400, 700] {
        assert!(refused(at), "at {at}");
    }
}
