//! Random histories: what is written is read, at any window and any page size, and HashKV is what
//! its definition says.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests.

mod common;

use cairn_etcd_snapshot::{
    Change, Error, Lease, Put, Record, Window, WriteOptions, Writer, hash_kv, history, revert,
};
use common::{Store, encode, number, open, seed};
use fastrand::Rng;

#[test]
fn what_is_written_is_read() {
    let mut rng = Rng::with_seed(seed());
    for case in 0..number("CAIRN_SNAPSHOT_CASES", 60) {
        let revisions = rng.i64(0..400);
        let store = Store::random(&mut rng, revisions);
        let whole = store.random_window(&mut rng);
        let page_bytes = 1024 << rng.u32(..7);
        let (bytes, summary) = store.snapshot(whole, page_bytes);
        assert_eq!(summary.bytes, bytes.len() as u64, "case {case}");
        assert_eq!(bytes[bytes.len() - 32..], summary.sha256);

        let snapshot = open(bytes).unwrap();
        assert_eq!(snapshot.window(), whole, "case {case}");
        assert_eq!(summary.revision, whole.revision);
        assert_eq!(summary.records as usize, store.window(whole).len());
        let records: Vec<Record> = snapshot.records().unwrap().map(Result::unwrap).collect();
        assert_eq!(records, store.window(whole), "case {case}");
        let leases: Vec<Lease> = snapshot.leases().unwrap().map(Result::unwrap).collect();
        assert_eq!(leases, store.leases.values().copied().collect::<Vec<_>>());
        assert_eq!(snapshot.buckets().count(), 10);
        assert_eq!(snapshot.entries(b"members").unwrap().count(), 0);
        assert!(snapshot.entries(b"nobody").is_none());

        // Any window within: its records, and the number that members with it would show.
        for _ in 0..4 {
            let revision = rng.i64(whole.compacted.max(1)..=whole.revision);
            let compacted = rng.i64(whole.compacted..=revision);
            let part = Window {
                compacted,
                revision,
            };
            let records: Vec<Record> = history(&snapshot, part)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(records, store.window(part), "case {case}, {part:?}");
            let same = hash_kv(&snapshot, part).unwrap();
            let (cut, _) = store.snapshot(part, 4096);
            let alone = hash_kv(&open(cut).unwrap(), part).unwrap();
            let nothing_lives = store.state_at(revision).is_empty();
            if !nothing_lives {
                assert_eq!(same, store.hash_kv(part), "case {case}, {part:?}");
            }
            assert_eq!(alone, store.hash_kv(part), "case {case}, {part:?}");
        }
    }
}

#[test]
fn a_tree_of_several_levels_is_read_in_order() {
    let records: Vec<Record> = (0..60_000)
        .map(|n| {
            let put = Put {
                key: n.to_string().into(),
                create_revision: n + 2,
                version: 1,
                ..Put::default()
            };
            Record::put(n + 2, 0, put)
        })
        .collect();
    let options = WriteOptions {
        page_bytes: 1024,
        ..WriteOptions::default()
    };
    let (bytes, _) = encode(options, &records, []);
    let snapshot = open(bytes).unwrap();
    assert!(snapshot.records().unwrap().map(Result::unwrap).eq(records));
    assert_eq!(snapshot.revision(), 60_001);
}

#[test]
fn a_window_that_is_not_told_is_refused() {
    let mut rng = Rng::with_seed(seed());
    let store = Store::random(&mut rng, 50);
    let (bytes, _) = store.snapshot(
        Window {
            compacted: 20,
            revision: 40,
        },
        4096,
    );
    let snapshot = open(bytes).unwrap();
    for (compacted, revision) in [(19, 40), (20, 41), (30, 29), (0, 0), (20, 19)] {
        let window = Window {
            compacted,
            revision,
        };
        let refused = hash_kv(&snapshot, window);
        assert!(matches!(refused, Err(Error::Revision { .. })), "{window:?}");
        assert!(matches!(
            history(&snapshot, window),
            Err(Error::Revision { .. })
        ));
    }
}

fn put(key: &'static str, create_revision: i64, version: i64) -> Put {
    Put {
        key: key.into(),
        create_revision,
        version,
        ..Put::default()
    }
}

#[test]
fn input_that_etcd_would_not_have_written_is_refused_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let options = WriteOptions {
        compacted: 10,
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(&path, options).unwrap();
    let mut refused = |record: Record| writer.record(&record).unwrap_err().to_string();

    let deleted = refused(Record::delete(4, 0, "a"));
    assert!(deleted.contains("no delete is left"), "{deleted}");
    assert!(refused(Record::put(4, 0, put("", 4, 1))).contains("never empty"));
    assert!(refused(Record::put(4, 0, put("a", 5, 1))).contains("created"));
    assert!(refused(Record::put(4, 0, put("a", 0, 1))).contains("created"));
    assert!(refused(Record::put(4, 0, put("a", 4, 0))).contains("version"));
    assert!(refused(Record::put(0, 0, put("a", 1, 1))).contains("from 1"));
    assert!(refused(Record::put(i64::MAX, 0, put("a", 1, 1))).contains("from 1"));
    assert!(refused(Record::put(4, -1, put("a", 1, 1))).contains("from 0"));
    assert!(refused(Record::put(12, 0, put("a", 1, 1))).contains("11.0 is next"));
    assert!(refused(Record::put(11, 1, put("a", 1, 1))).contains("11.0 is next"));

    writer.record(&Record::put(4, 3, put("a", 2, 2))).unwrap();
    let again = writer.record(&Record::put(4, 3, put("b", 2, 2)));
    assert!(matches!(again, Err(Error::OutOfOrder { .. })));
    let before = writer.record(&Record::put(4, 2, put("b", 2, 2)));
    assert!(matches!(before, Err(Error::OutOfOrder { .. })));
    writer.record(&Record::put(11, 0, put("b", 11, 1))).unwrap();
    writer.record(&Record::put(11, 1, put("c", 11, 1))).unwrap();
    let hole = writer.record(&Record::put(11, 3, put("d", 11, 1)));
    assert!(matches!(hole, Err(Error::Hole { .. })));
    let hole = writer.record(&Record::put(13, 0, put("d", 13, 1)));
    assert!(matches!(hole, Err(Error::Hole { .. })));
    writer.record(&Record::delete(12, 0, "b")).unwrap();

    let lease = |id, ttl, remaining_ttl| Lease {
        id,
        ttl,
        remaining_ttl,
    };
    writer.lease(&lease(7, 60, 0)).unwrap();
    for bad in [
        lease(7, 60, 0),
        lease(6, 60, 0),
        lease(0, 60, 0),
        lease(-1, 60, 0),
        lease(8, 0, 0),
        lease(8, 9_000_000_001, 0),
        lease(8, 60, 61),
        lease(8, 60, -1),
    ] {
        let refused = writer.lease(&bad);
        assert!(matches!(refused, Err(Error::Lease { .. })), "{bad:?}");
    }
    let summary = writer.finish().unwrap();
    assert_eq!((summary.records, summary.leases), (4, 1));
    assert_eq!(summary.revision, 12);

    for (compacted, page_bytes) in [
        (-1, 4096),
        (i64::MAX, 4096),
        (0, 512),
        (0, 5000),
        (0, 1 << 17),
    ] {
        let options = WriteOptions {
            compacted,
            page_bytes,
            ..WriteOptions::default()
        };
        let refused = Writer::create(dir.path().join("other"), options).err();
        assert!(matches!(refused, Some(Error::Options { .. })));
    }
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let names = || std::fs::read_dir(dir.path()).unwrap().count();

    let mut writer = Writer::create(&path, WriteOptions::default()).unwrap();
    writer.record(&Record::put(2, 0, put("a", 2, 1))).unwrap();
    assert!(!path.exists());
    drop(writer);
    assert_eq!(names(), 0, "a writer that is dropped leaves nothing");

    let first = Writer::create(&path, WriteOptions::default()).unwrap();
    let second = Writer::create(&path, WriteOptions::default()).unwrap();
    first.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(matches!(second.finish(), Err(Error::Exists { .. })));
    let third = Writer::create(&path, WriteOptions::default());
    assert!(matches!(third.err(), Some(Error::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(names(), 1);

    let nowhere = Writer::create(dir.path().join("no/file"), WriteOptions::default());
    let said = nowhere.err().unwrap().to_string();
    assert!(said.contains("cannot create"), "{said}");
}

#[test]
fn an_older_state_comes_back_as_revisions_that_are_not_too_large() {
    let mut rng = Rng::with_seed(seed());
    for case in 0..40 {
        let mut store = Store::random(&mut rng, 200);
        let (older, newest) = (rng.i64(1..=store.revision()), store.revision());
        let puts = |revision| store.state_at(revision).into_values().map(|(put, _)| put);
        let records: Vec<Record> = revert(puts(older), puts(newest), newest + 1, 10_000)
            .map(Result::unwrap)
            .collect();
        let (before, wanted) = (store.state_at(newest), store.state_at(older));
        for record in &records {
            let existed = before.get(record.key());
            if let Change::Put(put) = &record.change {
                let create = existed.map_or(record.at.revision, |(put, _)| put.create_revision);
                let version = existed.map_or(1, |(put, _)| put.version + 1);
                assert_eq!(
                    (put.create_revision, put.version),
                    (create, version),
                    "case {case}"
                );
            }
        }
        let sizes = |revision| -> Vec<usize> {
            let of_it = records
                .iter()
                .filter(|record| record.at.revision == revision);
            of_it
                .map(|record| match &record.change {
                    Change::Put(put) => put.key.len() + put.value.len(),
                    _ => record.key().len(),
                })
                .collect()
        };
        let last = records.last().map_or(newest, |last| last.at.revision);
        for revision in newest + 1..=last {
            let sizes = sizes(revision);
            assert!(sizes.len() == 1 || sizes.iter().sum::<usize>() <= 10_000);
        }
        // They follow the history, which a writer takes only without a hole, and end in that state.
        store.records.extend(records);
        let whole = Window {
            compacted: 0,
            revision: store.revision(),
        };
        open(store.snapshot(whole, 4096).0).unwrap();
        let after = store.state_at(store.revision());
        let plain = |state: common::State| -> Vec<_> {
            let puts = state.into_values().map(|(put, _)| put);
            puts.map(|put| (put.key, put.value, put.lease)).collect()
        };
        assert_eq!(
            plain(after),
            plain(wanted),
            "case {case}, {older} of {newest}"
        );
    }
}

#[test]
fn a_state_out_of_order_is_refused() {
    let (a, b) = (put("a", 2, 1), put("b", 2, 1));
    for (older, newest) in [
        (vec![b.clone(), a.clone()], vec![]),
        (vec![], vec![b, a.clone(), a]),
    ] {
        let all: Vec<_> = revert(older, newest, 9, 1000).collect();
        assert_eq!(all.len(), 2, "nothing follows the error");
        assert!(matches!(all[1], Err(Error::UnsortedKeys { .. })));
    }
}
