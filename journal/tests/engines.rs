//! What an engine adds to changes: attributes, control writes, leases. What a state knows of them
//! is the same whether it is read from records, from a checkpoint, or sorted.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use cairn_journal::{
    Change, Directory, Donor, Error, GapReason, JournalDonor, KeyValue, NewRecord, Repair,
    Retention, Revision, Stop, Timeline, Timestamp, storage::simulated::Simulated,
};
use common::{dir, open_with, small_options};

const T: Timestamp = Timestamp(1);

fn set(revision: i64, change: Change) -> NewRecord {
    NewRecord::changes(Revision(revision), vec![change], T)
}

fn lease(revision: i64, id: i64, granted_ttl: Option<i64>) -> NewRecord {
    NewRecord::lease(Revision(revision), id, granted_ttl, T)
}

#[test]
fn what_the_format_cannot_hold_is_refused_and_nothing_is_written() {
    let disk = Simulated::new(1);
    let (journal, _) = open_with(&disk, small_options(256 << 10)).unwrap();
    let most = Change::set("/a", "x").with_attributes(vec![7; 65_535]);
    let more = Change::set("/a", "x").with_attributes(vec![7; 65_536]);
    let mut options = small_options(256 << 10);
    options.max_payload_bytes = 128 << 10;
    options.max_queued_bytes = 256 << 10;
    drop(journal);
    let (journal, _) = open_with(&disk, options).unwrap();
    journal.append_and_commit(set(5, most.clone())).unwrap();
    let next = journal.end().next_sequence;
    let refused = journal.append(set(6, more)).unwrap_err();
    let is_bound = matches!(
        refused,
        Error::TooLarge {
            size: 65_536,
            limit: 65_535,
            ..
        }
    );
    assert!(is_bound, "{refused}");
    let refused = journal.append(lease(4, 1, Some(1))).unwrap_err();
    assert!(matches!(refused, Error::RevisionFalls { .. }), "{refused}");
    assert_eq!(journal.end().next_sequence, next);
    let state = journal.reader().unwrap().state(None).unwrap();
    let kept = &state.files[&b"/a"[..]].attributes;
    assert_eq!(*kept, most.attributes);
}

/// The leases alive at each revision that is told: ids, and the times to live in seconds.
type Leases = BTreeMap<i64, Vec<(i64, i64)>>;

/// The records of a journal with all of it, and the leases that follow from them.
fn records() -> (Vec<NewRecord>, Leases) {
    let (a, b, reason) = (Revision(4), Revision(6), GapReason::HistoryDiscarded);
    let there = KeyValue::new("/there", Revision(5), "x").with_attributes("a");
    let records = vec![
        set(1, Change::set("/a", "x").with_attributes("one")),
        lease(1, 7, Some(60)),
        // A control write takes the place of another write.
        set(2, Change::set("/was", "x")),
        lease(2, -8, Some(5)),
        set(3, Change::set("/was", "y").control()),
        NewRecord::gap_opened(a, b, reason, T),
        // Of a snapshot diff that is begun anew nothing counts.
        lease(6, 99, Some(99)),
        NewRecord::gap_opened(a, b, reason, T),
        lease(6, 7, None),
        NewRecord::changes(b, vec![there.into()], T),
        lease(6, 9, Some(1)),
        NewRecord::gap_closed(a, b, reason, T),
        set(7, Change::set("/control", "x").control()),
        lease(7, -8, Some(6)),
    ];
    let leases = BTreeMap::from([
        (1, vec![(7, 60)]),
        (2, vec![(-8, 5), (7, 60)]),
        (3, vec![(-8, 5), (7, 60)]),
        (6, vec![(-8, 5), (9, 1)]),
        (7, vec![(-8, 6), (9, 1)]),
    ]);
    (records, leases)
}

#[test]
fn a_state_tells_what_the_engine_knew_then() {
    let disk = Simulated::new(2);
    let (records, leases) = records();
    for checkpoint_behind in 0..=records.len() {
        let disk = disk.fork();
        let (journal, _) = open_with(&disk, small_options(64 << 10)).unwrap();
        for (n, record) in records.iter().enumerate() {
            if n == checkpoint_behind {
                journal.checkpoint().unwrap();
            }
            journal.append_and_commit(record.clone()).unwrap();
        }
        let reader = journal.reader().unwrap();
        for (revision, leases) in &leases {
            let state = reader.state(Some(Revision(*revision))).unwrap();
            assert_eq!(&Vec::from_iter(state.leases), leases, "at {revision}");
            assert_eq!(state.files.contains_key(&b"/was"[..]), *revision == 2);
        }
        let sorted = journal.consistent_state(&Stop::new()).unwrap();
        assert_eq!(Vec::from_iter(sorted.leases), leases[&7]);
        let paths = |entries: Vec<KeyValue>| Vec::from_iter(entries.into_iter().map(|kv| kv.path));
        let shown: Vec<KeyValue> = sorted.entries.map(Result::unwrap).collect();
        assert_eq!(paths(shown), ["/a", "/there"]);
        let all = journal.consistent_state(&Stop::new()).unwrap().entries;
        let all: Vec<KeyValue> = all.with_control().map(Result::unwrap).collect();
        assert_eq!(paths(all.clone()), ["/a", "/control", "/there", "/was"]);

        // From a checkpoint alone.
        journal.checkpoint().unwrap();
        journal.close().unwrap();
        let (journal, _) = open_with(&disk, small_options(64 << 10)).unwrap();
        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        journal
            .append_and_commit(set(8, Change::delete("/none")))
            .unwrap();
        journal.retire(&nothing).unwrap();
        let state = journal
            .reader()
            .unwrap()
            .with_control()
            .state(None)
            .unwrap();
        assert_eq!(Vec::from_iter(state.files.into_values()), all);
        assert_eq!(Vec::from_iter(state.leases), leases[&7]);
    }
}

#[test]
fn a_donor_gives_leases_back() {
    let (disk, twin) = (Simulated::new(3), Path::new("/twin"));
    let directory = |dir: &Path| Directory::on(Arc::new(disk.clone()), dir);
    for dir in [dir(), twin] {
        let (journal, _) = directory(dir).open(small_options(64 << 10)).unwrap();
        let timeline = Timeline {
            id: "one".to_owned(),
            parent: None,
            at: Revision(0),
            kept: false,
            observed_at: T,
        };
        let begun = NewRecord::timeline(Revision(0), timeline);
        journal.append(begun).unwrap();
        for revision in 1..=9 {
            let change = Change::set("/a", vec![7; 300]).with_attributes(vec![8; 30]);
            journal.append_and_commit(set(revision, change)).unwrap();
            journal
                .append_and_commit(lease(revision, revision, Some(1)))
                .unwrap();
        }
        journal.close().unwrap();
    }
    let path = common::files(&disk, "seg").remove(0);
    let mut content = disk.content(&path).unwrap();
    // Revisions 3 to 5, and what was learnt there.
    let hurt = directory(dir())
        .reader()
        .unwrap()
        .records()
        .map(Result::unwrap);
    let hurt = hurt.filter(|record| (3..=5).contains(&record.revision.0));
    for record in hurt.collect::<Vec<_>>() {
        content[usize::try_from(record.location.offset).unwrap() + 50] ^= 1;
    }
    disk.overwrite(&path, content);
    let mut donors: Vec<Box<dyn Donor>> = vec![Box::new(JournalDonor::of(directory(twin)))];
    let report = Repair::of(directory(dir()))
        .with(&mut donors)
        .run()
        .unwrap();
    assert!(report.is_changed(), "{report}");
    let state = |dir: &Path| directory(dir).reader().unwrap().state(None).unwrap();
    assert_eq!(state(dir()), state(twin));
    assert_eq!(state(dir()).leases.len(), 9);
}
