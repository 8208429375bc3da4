//! A checkpoint of format version 3 as a file: today's code must read it, and write the same bytes.
//!
//! To write it anew after a change of format that is meant (and has a new version number):
//! `CAIRN_GOLDEN=write cargo test -p cairn-journal --test golden_checkpoint`.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Checkpoint, Directory, GapReason, NewRecord, Options, Reader, Revision, Sequence,
    Timeline, Timestamp, storage::simulated::Simulated,
};

const DIR: &str = "/journal";
const NAME: &str = "00000000000000000062.ckpt";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint-v3")
}

fn timeline() -> Timeline {
    Timeline {
        id: "timeline".to_owned(),
        parent: None,
        at: Revision(58),
        kept: false,
        observed_at: Timestamp(1_700_000_000_000),
    }
}

/// Every field of the header but the flag, two blocks, and a difference behind it that is not
/// complete.
fn written() -> Simulated {
    let disk = Simulated::new(0xCA2);
    let mut options = Options::default();
    options.max_payload_bytes = 40 << 10;
    options.segment_bytes = 64 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    let (journal, _) = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .open(options)
        .unwrap();
    let t = Timestamp(1_700_000_000_001);
    let append = |record| journal.append_and_commit(record).unwrap();

    append(NewRecord::timeline(Revision(0), timeline()));
    let (a, b) = (Revision(1), Revision(60));
    append(NewRecord::gap_opened(a, b, GapReason::Baseline, t));
    let old = Change::set("/old", "value").at(Revision(12));
    append(NewRecord::changes(b, vec![old], t));
    append(NewRecord::gap_closed(a, b, GapReason::Baseline, t));
    let changes = vec![
        Change::set("/bin", &b"\x00\xff\n="[..]).with_attributes(&b"\x00\xff"[..]),
        Change::set("/control", "x").control(),
        Change::set("/empty", ""),
        Change::set("/gone", "soon"),
        Change::set("/large", vec![b'l'; 39 << 10]),
    ];
    append(NewRecord::changes(Revision(61), changes, t));
    for (id, granted_ttl) in [(7587, Some(60)), (-1, Some(5)), (3, Some(1)), (3, None)] {
        append(NewRecord::lease(Revision(61), id, granted_ttl, t));
    }
    let changes = vec![
        Change::delete("/gone"),
        Change::set("/larger", vec![b'L'; 39 << 10]),
    ];
    append(NewRecord::changes(Revision(62), changes, t));
    let (a, b) = (Revision(63), Revision(70));
    append(NewRecord::gap_opened(a, b, GapReason::HistoryDiscarded, t));
    append(NewRecord::changes(b, vec![Change::delete("/old")], t));
    let report = journal.checkpoint().unwrap();
    assert!(report.newest.unwrap().path().ends_with(NAME));
    journal.close().unwrap();
    disk
}

#[test]
fn the_same_bytes_are_written() {
    let compared = common::compare_with_golden(&written(), &golden());
    println!("{compared} files are the same, byte for byte");
}

#[test]
fn the_golden_file_is_read() {
    let checkpoint = Checkpoint::open(&golden().join(NAME)).unwrap();
    assert_eq!(checkpoint.revision(), Revision(62));
    assert_eq!(checkpoint.timeline(), Some(&timeline()));
    assert_eq!(checkpoint.observed_at(), Timestamp(1_700_000_000_001));
    let entries = checkpoint.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path, entry.revision.0, entry.value.len())
    });
    let expected = [
        ("/bin", 61, 4),
        ("/empty", 61, 0),
        ("/large", 61, 39 << 10),
        ("/larger", 62, 39 << 10),
        ("/old", 12, 5),
    ];
    let expected = expected.map(|(path, revision, length)| (path.into(), revision, length));
    assert_eq!(entries.collect::<Vec<_>>(), expected);
    assert_eq!(checkpoint.len(), 6);
    assert_eq!(
        checkpoint.leases().unwrap(),
        BTreeMap::from([(7587, 60), (-1, 5)])
    );
    let mut with_control = checkpoint.with_control().entries().unwrap();
    let attributes = with_control.next().unwrap().unwrap().attributes;
    assert_eq!(attributes, &b"\x00\xff"[..]);
    assert!(with_control.next().unwrap().unwrap().is_control);

    let reader = Reader::open(&golden()).unwrap();
    let usable = reader.checkpoints().unwrap().usable;
    assert_eq!(usable.len(), 1);
    assert!(usable[0].sequence() > Sequence(6));
    let told = reader.state(None).unwrap();
    assert_eq!((told.files.len(), told.revision), (5, Revision(62)));
    assert_eq!(told.leases, BTreeMap::from([(7587, 60), (-1, 5)]));
}
