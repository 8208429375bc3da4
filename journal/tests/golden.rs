//! Format version 3 as files: today's code must read them, and write the same bytes.
//!
//! To write them anew after a change of format that is meant (and has a new version number):
//! `CAIRN_GOLDEN=write cargo test -p cairn-journal --test golden`.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Directory, Entry, GapPhase, GapReason, KeyValue, NewRecord, Options, Reader, Revision,
    Timeline, Timestamp, storage::simulated::Simulated,
};
use common::repair_on;

const DIR: &str = "/journal";

fn options() -> Options {
    common::small_options(22 << 10)
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v3")
}

fn timeline(kept: bool) -> Timeline {
    Timeline {
        id: format!("timeline-{kept}"),
        parent: kept.then(|| "parent".to_owned()),
        at: Revision(58),
        kept,
        observed_at: Timestamp(1_700_000_000_000),
    }
}

/// Every type of record and every field, in three lives, with damage and a repair.
fn written() -> Simulated {
    let disk = Simulated::new(0xCA1);
    let dir = Path::new(DIR);
    let open = || {
        Directory::on(Arc::new(disk.clone()), dir)
            .open(options())
            .unwrap()
            .0
    };
    let t = Timestamp(1_700_000_000_001);

    let journal = open();
    journal
        .append(NewRecord::timeline(Revision(0), timeline(false)))
        .unwrap();
    let (a, b) = (Revision(1), Revision(60));
    journal
        .append(NewRecord::gap_opened(a, b, GapReason::Baseline, t))
        .unwrap();
    let old = Change::set("/old", "value").at(Revision(12));
    journal
        .append_and_commit(NewRecord::changes(b, vec![old], t))
        .unwrap();
    journal
        .append_and_commit(NewRecord::gap_closed(a, b, GapReason::Baseline, t))
        .unwrap();
    let changes = vec![
        Change::set("/bin", &b"\x00\xff\n="[..]),
        Change::delete("/old"),
        Change::set("/empty", ""),
    ];
    journal
        .append_and_commit(NewRecord::changes(Revision(61), changes, t))
        .unwrap();
    for n in 62..72 {
        let value = vec![u8::try_from(n).unwrap(); 300];
        let change = Change::set(format!("/{n}"), value);
        let change = match n {
            63 => change.with_attributes(&b"\x00\xff"[..]),
            64 => change.control(),
            _ => change,
        };
        journal
            .append_and_commit(NewRecord::changes(Revision(n), vec![change], t))
            .unwrap();
    }
    for (id, granted_ttl) in [(7587, Some(60)), (-1, Some(5)), (3, Some(1)), (3, None)] {
        journal
            .append_and_commit(NewRecord::lease(Revision(71), id, granted_ttl, t))
            .unwrap();
    }
    journal
        .append_and_commit(NewRecord::watermark(Revision(80), t))
        .unwrap();
    journal.close().unwrap();

    let journal = open();
    journal
        .append_and_commit(NewRecord::timeline(Revision(80), timeline(true)))
        .unwrap();
    let (a, b) = (Revision(81), Revision(90));
    journal
        .append_and_commit(NewRecord::gap_opened(a, b, GapReason::HistoryDiscarded, t))
        .unwrap();
    let seen = KeyValue::new("/85", Revision(85), "x").with_attributes("a");
    journal
        .append_and_commit(NewRecord::changes(b, vec![seen.into()], t))
        .unwrap();
    journal
        .append_and_commit(NewRecord::lease(b, -1, None, t))
        .unwrap();
    journal
        .append_and_commit(NewRecord::gap_closed(a, b, GapReason::HistoryDiscarded, t))
        .unwrap();
    journal
        .append_and_commit(NewRecord::changes(
            Revision(91),
            vec![Change::delete("/62")],
            t,
        ))
        .unwrap();
    drop(journal);

    // The record of revision 61, in the first segment.
    let path = dir.join("00000000000000000001.seg");
    let mut content = disk.content(&path).unwrap();
    let reader = Directory::on(Arc::new(disk.clone()), dir).reader().unwrap();
    let victim = reader
        .records()
        .map(Result::unwrap)
        .find(|r| r.revision == Revision(61))
        .unwrap();
    content[usize::try_from(victim.location.offset).unwrap() + 52] ^= 1;
    disk.overwrite(&path, content);
    repair_on(&disk, dir).unwrap();
    let journal = open();
    for n in 92..=97 {
        let value = vec![u8::try_from(n).unwrap(); 300];
        let change = Change::set("/92", value);
        journal
            .append_and_commit(NewRecord::changes(Revision(n), vec![change], t))
            .unwrap();
    }
    journal.close().unwrap();
    disk
}

#[test]
fn the_same_bytes_are_written() {
    let compared = common::compare_with_golden(&written(), &golden());
    println!("{compared} files are the same, byte for byte");
}

#[test]
fn the_golden_files_are_read() {
    let reader = Reader::open(&golden()).unwrap();
    let mut text = Vec::new();
    for record in reader.records() {
        let r = record.unwrap();
        let what = match &r.entry {
            Entry::Changes { changes, .. } => format!("changes {}", changes.len()),
            Entry::Gap {
                first,
                last,
                phase,
                reason,
                ..
            } => format!(
                "gap {first}-{last} {} {reason}",
                if *phase == GapPhase::Opened {
                    "opened"
                } else {
                    "closed"
                }
            ),
            Entry::Timeline(t) => {
                assert_eq!(*t, timeline(t.kept));
                format!("timeline {}", t.id)
            }
            Entry::Watermark { closed, .. } => format!("watermark {closed}"),
            Entry::Lease {
                id, granted_ttl, ..
            } => format!("lease {id} {granted_ttl:?}"),
            Entry::Seal { records, .. } => format!("seal {records}"),
            Entry::Lost { first, last, .. } => format!("lost {first}-{last}"),
            other => panic!("{other:?}"),
        };
        text.push(format!("{} {} {what}", r.sequence, r.revision));
    }
    let expected = [
        "1 0 timeline timeline-false",
        "2 0 gap 1-60 opened baseline",
        "3 60 changes 1",
        "4 60 gap 1-60 closed baseline",
        "5 60 lost 61-61",
        "6 62 changes 1",
    ];
    println!("{}", text.join("\n"));
    assert_eq!(text[..6], expected);
    let leases = text.iter().filter(|t| t.contains("lease"));
    let leases: Vec<_> = leases
        .map(|t| t.split_once(' ').unwrap().1.to_owned())
        .collect();
    let expected = [
        "71 lease 7587 Some(60)",
        "71 lease -1 Some(5)",
        "71 lease 3 Some(1)",
        "71 lease 3 None",
        "90 lease -1 None",
    ];
    assert_eq!(leases, expected);
    assert!(text.iter().any(|t| t.contains("seal")));
    assert_eq!(text.last().unwrap().split(' ').next_back(), Some("true"));
    let state = reader.state(None).unwrap();
    assert_eq!(state.revision, Revision(97));
    assert_eq!(state.timeline, Some(timeline(true)));
    let old = KeyValue::new("/old", Revision(12), "value");
    assert_eq!(state.files[&b"/old"[..]], old);
    let seen = KeyValue::new("/85", Revision(85), "x").with_attributes("a");
    assert_eq!(state.files[&b"/85"[..]], seen);
    assert_eq!(state.files[&b"/63"[..]].attributes, &b"\x00\xff"[..]);
    assert_eq!(state.files.len(), 11);
    assert_eq!(state.leases, BTreeMap::from([(7587, 60)]));
    let with_control = reader.with_control().state(None).unwrap();
    assert_eq!(with_control.files.len(), 12);
    assert!(with_control.files[&b"/64"[..]].is_control);
}
