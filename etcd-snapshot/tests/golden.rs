//! Files that are kept: the writer writes the same bytes, and the reader reads what etcd wrote.
//!
//! `written.db` is made by `CAIRN_GOLDEN=write cargo test -p cairn-etcd-snapshot --test golden`.
//!
//! `etcd-3.4.23.db` was saved by `etcdctl snapshot save` after these calls to a new member of
//! Debian's etcd-server 3.4.23: `lease grant 600`, `put /a 1`, `put /b 1`, `put --lease ID /c
//! leased`, `put /a 2`, `del /b`, `compact 5`, one `txn` with `put /d 1` and `put /e ""`, `del /a`,
//! `role add reader`. HashKV is what that member said.

#![allow(clippy::unwrap_used)] // Tests.

mod common;

use std::path::{Path, PathBuf};

use cairn_etcd_snapshot::{
    Lease, Put, ReadOptions, Record, Snapshot, Window, WriteOptions, hash_kv, history,
};

const LEASE: i64 = 0x694d_a229_955f_3705;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn put(key: &'static str, value: &'static str, create_revision: i64, version: i64) -> Put {
    Put {
        key: key.into(),
        value: value.into(),
        create_revision,
        version,
        lease: 0,
    }
}

/// What the member had from its compacted revision on.
fn records() -> Vec<Record> {
    let leased = Put {
        lease: LEASE,
        ..put("/c", "leased", 4, 1)
    };
    vec![
        Record::put(4, 0, leased),
        Record::put(5, 0, put("/a", "2", 2, 2)),
        Record::delete(6, 0, "/b"),
        Record::put(7, 0, put("/d", "1", 7, 1)),
        Record::put(7, 1, put("/e", "", 7, 1)),
        Record::delete(8, 0, "/a"),
    ]
}

fn lease() -> Lease {
    Lease {
        id: LEASE,
        ttl: 600,
        remaining_ttl: 0,
    }
}

#[test]
fn the_bytes_are_the_ones_that_are_kept() {
    // With /b as it was at the compacted revision, and a value of more than a page.
    let mut records = records();
    records.insert(0, Record::put(3, 0, put("/b", "1", 3, 1)));
    let large = Put {
        value: vec![b'v'; 5000].into(),
        ..put("/large", "", 9, 1)
    };
    records.push(Record::put(9, 0, large));
    let options = WriteOptions {
        compacted: 5,
        consistent_index: 17,
        term: 3,
        ..WriteOptions::default()
    };
    let (bytes, _) = common::encode(options, &records, &[lease()]);
    let path = golden("written.db");
    if std::env::var("CAIRN_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == bytes,
        "other bytes are written"
    );

    let snapshot = Snapshot::open(&path, ReadOptions::default()).unwrap();
    let read: Vec<Record> = snapshot.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, records);
    let meta = snapshot.meta();
    assert_eq!((meta.consistent_index, meta.term), (Some(17), Some(3)));
    assert_eq!((snapshot.compacted(), snapshot.revision()), (5, 9));
}

#[test]
fn a_file_of_etcd_is_read() {
    let snapshot = Snapshot::open(golden("etcd-3.4.23.db"), ReadOptions::default()).unwrap();
    let whole = Window {
        compacted: 5,
        revision: 8,
    };
    assert_eq!(snapshot.window(), whole);
    let read: Vec<Record> = history(&snapshot, whole)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut all = records();
    all.insert(0, Record::put(3, 0, put("/b", "1", 3, 1)));
    assert_eq!(read, all);
    let leases: Vec<Lease> = snapshot.leases().unwrap().map(Result::unwrap).collect();
    assert_eq!(leases, [lease()]);
    let roles: Vec<_> = snapshot.entries(b"authRoles").unwrap().collect();
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0].as_ref().unwrap().0, "reader");
    assert_eq!(hash_kv(&snapshot, whole).unwrap(), 2_295_303_764);
    let earlier = Window {
        revision: 7,
        ..whole
    };
    assert_eq!(hash_kv(&snapshot, earlier).unwrap(), 2_900_122_242);
}
