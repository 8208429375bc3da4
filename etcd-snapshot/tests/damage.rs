//! Files that are damaged, and files that are made to harm: an error that says where, and never a
//! panic, an endless loop, or memory without bound.
//!
//! The sha256 is made right again after each change, and the checksums of the meta pages where
//! those were changed: what is tried is everything behind them.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests.

mod common;

use cairn_etcd_snapshot::{Error, ReadOptions, Record, Result, Snapshot, Window, hash_kv, history};
use common::{Store, number, open, seed};
use fastrand::Rng;
use sha2::{Digest, Sha256};

const PAGE: usize = 1024;

/// The sha256 at the end, of whatever is there now.
fn seal(file: &mut [u8]) {
    let body = file.len() - 32;
    let digest = Sha256::digest(&file[..body]);
    file[body..].copy_from_slice(&digest);
}

/// The checksums of both meta pages too.
fn seal_meta(file: &mut [u8]) {
    for begin in [16, PAGE + 16] {
        let hash = file[begin..begin + 56]
            .iter()
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
        file[begin + 56..begin + 64].copy_from_slice(&u64::to_le_bytes(hash));
    }
}

/// Everything that can be read of a file, and how much that was.
fn read_all(file: &[u8]) -> Result<usize> {
    let options = ReadOptions {
        max_entry_bytes: 1 << 20,
    };
    let snapshot = Snapshot::from_bytes(file.to_vec(), "memory", options)?;
    let mut entries = 0;
    let mut first_error = Ok(());
    let mut note = |result: Result<()>| {
        if first_error.is_ok() {
            first_error = result;
        }
    };
    for bucket in snapshot.buckets() {
        for entry in snapshot.entries(bucket).unwrap() {
            entries += 1;
            note(entry.map(drop));
        }
    }
    let window = snapshot.window();
    note(
        snapshot
            .records()
            .and_then(|mut all| all.try_for_each(|r| r.map(drop))),
    );
    note(
        snapshot
            .leases()
            .and_then(|mut all| all.try_for_each(|l| l.map(drop))),
    );
    note(history(&snapshot, window).and_then(|mut all| all.try_for_each(|r| r.map(drop))));
    note(hash_kv(&snapshot, window).map(drop));
    // Each entry has bytes of its own: no file can tell more than it has.
    assert!(entries * 17 <= file.len(), "{entries} entries");
    first_error.map(|()| entries)
}

/// Small, with branches, a leaf of several pages, and buckets inline and not.
fn sample(rng: &mut Rng) -> Vec<u8> {
    let store = Store::random(rng, 120);
    let window = Window {
        compacted: 60,
        revision: store.revision(),
    };
    store.snapshot(window, PAGE).0
}

#[test]
fn any_change_of_any_byte_is_an_error_or_is_read() {
    let mut rng = Rng::with_seed(seed());
    let mut refused = 0;
    let cases = number("CAIRN_SNAPSHOT_MUTATIONS", 4_000);
    let samples = [sample(&mut rng), sample(&mut rng), {
        // One that fits into few pages, so that each of its bytes is hit often.
        let store = Store::random(&mut rng, 12);
        let window = Window {
            compacted: 0,
            revision: store.revision(),
        };
        store.snapshot(window, PAGE).0
    }];
    for _ in 0..cases {
        let mut file = rng.choice(&samples).unwrap().clone();
        for _ in 0..rng.usize(1..4) {
            // Mostly where structure is: in the first bytes of a page.
            let page = rng.usize(..(file.len() - 32) / PAGE) * PAGE;
            let within = if rng.bool() {
                rng.usize(..80)
            } else {
                rng.usize(..PAGE)
            };
            let at = (page + within).min(file.len() - 40);
            match rng.u8(..4) {
                0 => file[at] = rng.u8(..),
                1 => file[at] ^= 1 << rng.u8(..8),
                2 => file[at..at + 4].copy_from_slice(&rng.u32(..).to_le_bytes()),
                _ => file[at..at + 8].copy_from_slice(&rng.u64(..40).to_le_bytes()),
            }
        }
        if rng.bool() {
            seal_meta(&mut file);
        }
        seal(&mut file);
        match read_all(&file) {
            Ok(_) => {}
            Err(
                Error::Damaged { .. } | Error::NotASnapshot { .. } | Error::EntryTooLarge { .. },
            ) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        refused > cases / 4,
        "only {refused} of {cases} were refused"
    );
}

#[test]
fn a_byte_that_changed_since_is_found_by_the_digest() {
    let mut rng = Rng::with_seed(seed());
    let file = sample(&mut rng);
    for _ in 0..200 {
        let mut damaged = file.clone();
        damaged[rng.usize(..file.len())] ^= 1 << rng.u8(..8);
        assert!(matches!(open(damaged), Err(Error::Digest { .. })));
    }
    for length in (0..file.len()).step_by(31).chain([file.len() - 32]) {
        let cut = open(file[..length].to_vec());
        assert!(
            matches!(cut, Err(Error::Digest { .. } | Error::NotASnapshot { .. })),
            "{length} bytes"
        );
    }
}

#[test]
fn one_damaged_meta_page_is_enough_to_lose() {
    let mut rng = Rng::with_seed(seed());
    let file = sample(&mut rng);
    let sound = read_all(&file).unwrap();
    for page in [0, 1] {
        let mut damaged = file.clone();
        damaged[page * PAGE + 40] ^= 1;
        seal(&mut damaged);
        assert_eq!(read_all(&damaged).unwrap(), sound, "meta page {page}");
    }
    let mut damaged = file;
    damaged[40] ^= 1;
    damaged[PAGE + 40] ^= 1;
    seal(&mut damaged);
    assert!(matches!(
        read_all(&damaged),
        Err(Error::NotASnapshot { .. })
    ));
}

/// A file with one bucket `key` whose pages are given, from page 2 on; `lease` and `meta` are
/// empty.
fn crafted(pages: &[Vec<u8>]) -> Vec<u8> {
    let used: usize = pages.iter().map(|page| page.len().div_ceil(PAGE)).sum();
    let count = used as u64 + 3;
    let root = count - 1;
    let mut file = vec![0; 2 * PAGE];
    for (transaction, begin) in [(0_u64, 0), (1, PAGE)] {
        let mut meta = Vec::new();
        meta.extend_from_slice(&transaction.to_le_bytes());
        meta.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        meta.extend_from_slice(&0xED0C_DAED_u32.to_le_bytes());
        meta.extend_from_slice(&2_u32.to_le_bytes());
        meta.extend_from_slice(&(PAGE as u32).to_le_bytes());
        meta.extend_from_slice(&0_u32.to_le_bytes());
        for number in [root, 0, u64::MAX, count, transaction] {
            meta.extend_from_slice(&number.to_le_bytes());
        }
        file[begin..begin + meta.len()].copy_from_slice(&meta);
    }
    for page in pages {
        file.extend_from_slice(page);
        file.resize(file.len().next_multiple_of(PAGE), 0);
    }
    let key_root = [&2_u64.to_le_bytes()[..], &[0; 8]].concat();
    let inline = [&[0; 16][..], &[0; 8], &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
    let buckets = [
        (&b"key"[..], &key_root[..]),
        (b"lease", &inline),
        (b"meta", &inline),
    ];
    file.extend(leaf(root, 0, 1, &buckets));
    file.resize(file.len().next_multiple_of(PAGE) + 32, 0);
    seal_meta(&mut file);
    seal(&mut file);
    file
}

fn header(id: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend_from_slice(&flags.to_le_bytes());
    page.extend_from_slice(&(count as u16).to_le_bytes());
    page.extend_from_slice(&overflow.to_le_bytes());
    page
}

fn leaf(id: u64, overflow: u32, flags: u32, entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut page = header(id, 2, entries.len(), overflow);
    let mut data = Vec::new();
    for (index, (key, value)) in entries.iter().enumerate() {
        let position = 16 * (entries.len() - index) + data.len();
        for number in [flags, position as u32, key.len() as u32, value.len() as u32] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        data.extend([*key, *value].concat());
    }
    page.extend(data);
    page
}

fn branch(id: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let mut page = header(id, 1, children.len(), 0);
    let mut data = Vec::new();
    for (index, (key, child)) in children.iter().enumerate() {
        let position = 16 * (children.len() - index) + data.len();
        page.extend_from_slice(&(position as u32).to_le_bytes());
        page.extend_from_slice(&(key.len() as u32).to_le_bytes());
        page.extend_from_slice(&child.to_le_bytes());
        data.extend_from_slice(key);
    }
    page.extend(data);
    page
}

fn position(revision: i64) -> Vec<u8> {
    [&revision.to_be_bytes()[..], b"_", &[0; 8]].concat()
}

/// A put of the key `k` at its creation.
fn value(revision: u8) -> Vec<u8> {
    vec![0x0A, 1, b'k', 0x10, revision, 0x18, revision, 0x20, 1]
}

#[test]
fn files_that_are_made_to_harm_are_refused() {
    let (two, three, four) = (position(2), position(3), position(4));
    let entry = |revision| (position(i64::from(revision)), value(revision));
    let [a, b, c] = [2, 3, 4].map(entry);
    let (a, b, c) = (
        (&a.0[..], &a.1[..]),
        (&b.0[..], &b.1[..]),
        (&c.0[..], &c.1[..]),
    );

    let sound = crafted(&[
        branch(2, &[(&two, 3), (&four, 4)]),
        leaf(3, 0, 0, &[a, b]),
        leaf(4, 0, 0, &[c]),
    ]);
    assert_eq!(read_all(&sound).unwrap(), 3);

    let long_key = vec![b'k'; 33_000];
    let mut too_many = leaf(2, 0, 0, &[a]);
    too_many[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
    let mut overlapping = leaf(2, 0, 0, &[a, b]);
    overlapping[16 + 16 + 4] -= 8; // the second entry's position
    let mut behind = leaf(2, 0, 0, &[a]);
    behind[16 + 12..16 + 16].copy_from_slice(&1_000_u32.to_le_bytes());
    let mut itself = leaf(2, 0, 0, &[a]);
    itself[0] = 7;
    let mut nothing = leaf(2, 0, 0, &[a]);
    nothing[8] = 0;
    // Each of many branches names the next one twice: 2^30 ways down to one leaf.
    let mut doubled: Vec<Vec<u8>> = (2..32)
        .map(|n| branch(n, &[(&two, n + 1), (&three, n + 1)]))
        .collect();
    doubled.push(leaf(32, 0, 0, &[b]));
    let deep: Vec<Vec<u8>> = (2..60).map(|n| branch(n, &[(&two, n + 1)])).collect();

    for (what, pages, said) in [
        (
            "a branch that is its own child",
            vec![branch(2, &[(&two, 2)])],
            "more pages than the file",
        ),
        (
            "a leaf told twice",
            vec![branch(2, &[(&two, 3), (&four, 3)]), leaf(3, 0, 0, &[a, b])],
            "not above those before",
        ),
        ("branches that multiply", doubled, "not above those before"),
        ("branches without end", deep, "more than 32 branches"),
        (
            "a child behind the file",
            vec![branch(2, &[(&two, 99)])],
            "leads to page 99",
        ),
        (
            "a child that is a meta page",
            vec![branch(2, &[(&two, 1)])],
            "leads to page 1",
        ),
        (
            "a branch of nothing",
            vec![branch(2, &[])],
            "without elements",
        ),
        (
            "a leaf of nothing below a branch",
            vec![branch(2, &[(&two, 3)]), leaf(3, 0, 0, &[])],
            "without elements",
        ),
        (
            "keys that descend",
            vec![leaf(2, 0, 0, &[b, a])],
            "not above those before",
        ),
        (
            "equal keys",
            vec![leaf(2, 0, 0, &[a, a])],
            "not above those before",
        ),
        (
            "a key below its branch",
            vec![branch(2, &[(&three, 3)]), leaf(3, 0, 0, &[a])],
            "not above those before",
        ),
        (
            "a key that belongs to the next child",
            vec![
                branch(2, &[(&two, 3), (&three, 4)]),
                leaf(3, 0, 0, &[a, b]),
                leaf(4, 0, 0, &[c]),
            ],
            "not above those before",
        ),
        (
            "an empty key",
            vec![leaf(2, 0, 0, &[(b"", b"v")])],
            "a key of no byte",
        ),
        (
            "a key of 33,000 bytes",
            vec![leaf(2, 33, 0, &[(&long_key, b"v")])],
            "more than 32 KiB",
        ),
        (
            "more elements than fit",
            vec![too_many],
            "more elements than",
        ),
        ("entries that overlap", vec![overlapping], "overlap"),
        (
            "an entry that ends behind its page",
            vec![behind],
            "end behind the page",
        ),
        ("a page of another number", vec![itself], "calls itself 7"),
        (
            "a page of no kind",
            vec![nothing],
            "neither a leaf nor a branch",
        ),
        (
            "a run of pages behind the file",
            vec![leaf(2, 9, 0, &[a])],
            "10 pages in a row",
        ),
        (
            "a bucket within the bucket",
            vec![leaf(2, 0, 1, &[a])],
            "a bucket should be",
        ),
        (
            "leaves that overlap",
            vec![
                branch(2, &[(&two, 3), (&three, 4), (&four, 5)]),
                leaf(3, 2, 0, &[a]),
                leaf(4, 1, 0, &[b]),
                leaf(5, 0, 0, &[c]),
            ],
            "some overlap",
        ),
        (
            "a key that is no revision",
            vec![leaf(2, 0, 0, &[(b"k", b"v")])],
            "last key",
        ),
        (
            "a value that is no message",
            vec![leaf(2, 0, 0, &[(a.0, b"v")])],
            "no",
        ),
        (
            "a revision of another record",
            vec![leaf(2, 0, 0, &[(b.0, a.1)])],
            "kept under",
        ),
        (
            "a field that nobody knows",
            vec![leaf(2, 0, 0, &[(a.0, &[a.1, &[0x78, 1]].concat())])],
            "does not know",
        ),
    ] {
        let error = read_all(&crafted(&pages)).expect_err(what).to_string();
        assert!(error.contains(said), "{what}: {error}");
        let place = error.contains("page") && error.contains("offset");
        assert!(place || error.contains("last key"), "{what}: {error}");
    }
}

#[test]
fn an_entry_longer_than_allowed_is_refused_before_it_is_read() {
    let large = vec![0; 5_000];
    let file = crafted(&[leaf(2, 4, 0, &[(&position(2), &large)])]);
    let options = ReadOptions {
        max_entry_bytes: 4_999,
    };
    let snapshot = Snapshot::from_bytes(file, "memory", options);
    let said = snapshot.err().unwrap().to_string();
    assert!(
        said.contains("5000 bytes, more than the allowed 4999"),
        "{said}"
    );
}

/// `etcdutl snapshot restore --bump-revision` leaves a record of nothing.
#[test]
fn a_bump_is_read_and_left_out_of_what_is_written() {
    let file = crafted(&[leaf(
        2,
        0,
        0,
        &[(&position(2), &value(2)), (&position(9), b"")],
    )]);
    let snapshot = open(file).unwrap();
    assert_eq!(snapshot.revision(), 9);
    let records: Vec<Record> = snapshot.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 2);
    let window = Window {
        compacted: 9,
        revision: 9,
    };
    let state: Vec<Record> = history(&snapshot, window)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(state, records[..1]);
}

/// bbolt keeps a list of unused pages in the file unless it is told not to; etcd tells it so.
#[test]
fn a_list_of_unused_pages_is_no_hindrance() {
    let mut rng = Rng::with_seed(seed());
    let plain = sample(&mut rng);
    let sound = read_all(&plain).unwrap();
    let with_list = |flags| {
        let mut file = plain[..plain.len() - 32].to_vec();
        let page = (file.len() / PAGE) as u64;
        file.extend(header(page, flags, 1, 0));
        file.extend_from_slice(&3_u64.to_le_bytes());
        file.resize(file.len().next_multiple_of(PAGE) + 32, 0);
        for begin in [16, PAGE + 16] {
            file[begin + 32..begin + 40].copy_from_slice(&page.to_le_bytes());
            file[begin + 40..begin + 48].copy_from_slice(&(page + 1).to_le_bytes());
        }
        seal_meta(&mut file);
        seal(&mut file);
        read_all(&file)
    };
    assert_eq!(with_list(0x10).unwrap(), sound);
    let said = with_list(2).unwrap_err().to_string();
    assert!(said.contains("list of unused pages"), "{said}");
}
