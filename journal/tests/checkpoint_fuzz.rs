//! Checkpoints with anything in them, checksums made to match: no panic, nothing is read or
//! allocated beyond the file, and what is accepted is sorted and complete.
//!
//! The checksums are computed here from `docs/format.md`, not by the code that is tested.
//! `CAIRN_FUZZ` runs more mutations, `CAIRN_SEED` the same ones again.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use cairn_journal::{
    Directory, Error, Result, Timestamp,
    storage::{Access, File, Lock, Storage, simulated::Simulated},
};
use common::{append, dir, files, seed, small_options, variable};
use crc32fast::Hasher;
use fastrand::Rng;

const HEADER: usize = 4096;
const BLOCK: usize = 32;

/// A storage that remembers how much was asked of a checkpoint at once: so much was allocated for
/// it.
#[derive(Clone, Debug)]
struct Watching {
    disk: Simulated,
    longest: Arc<AtomicU64>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn File>,
    longest: Option<Arc<AtomicU64>>,
}

impl File for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(longest) = &self.longest {
            longest.fetch_max(into.len() as u64, Ordering::Relaxed);
        }
        self.file.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(from, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Storage for Watching {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let is_checkpoint = path.extension().is_some_and(|e| e == "ckpt");
        Ok(Box::new(WatchedFile {
            file: self.disk.open(path, access)?,
            longest: is_checkpoint.then(|| self.longest.clone()),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }

    fn random(&self) -> u128 {
        self.disk.random()
    }

    fn now(&self) -> Timestamp {
        self.disk.now()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Where blocks begin, as far as their lengths lead.
fn blocks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = HEADER;
    while at + BLOCK <= bytes.len() {
        let body = u32_at(bytes, at) as usize;
        let end = (at + BLOCK).saturating_add(body.next_multiple_of(8));
        blocks.push((at, end.min(bytes.len())));
        at = end;
    }
    blocks
}

/// Makes all checksums match what is there, the digest in the footer too.
fn reseal(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    put(bytes, HEADER - 4, crc);
    let mut digest = Hasher::new();
    let all = blocks(bytes);
    for (i, &(at, end)) in all.iter().enumerate() {
        if i + 1 == all.len() && end - at >= BLOCK + 36 {
            put(bytes, at + BLOCK + 32, digest.clone().finalize());
        }
        let mut seeded = Hasher::new();
        // UUID and salt, then the offset.
        seeded.update(&bytes[16..40]);
        seeded.update(&(at as u64).to_le_bytes());
        let mut body = seeded.clone();
        body.update(&bytes[at + BLOCK..end]);
        put(bytes, at + 24, body.finalize());
        seeded.update(&bytes[at..at + 28]);
        put(bytes, at + 28, seeded.finalize());
        let (header, body) = (u32_at(bytes, at + 28), u32_at(bytes, at + 24));
        digest.update(&header.to_le_bytes());
        digest.update(&body.to_le_bytes());
    }
}

/// Something else in the place of some bytes, preferably of those that are lengths and counts.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    const NUMBERS: [u32; 8] = [
        0,
        1,
        8,
        0x7FFF_FFFF,
        0x8000_0000,
        u32::MAX - 1,
        u32::MAX,
        1 << 28,
    ];
    let all = blocks(bytes);
    let some = all[rng.usize(..all.len())];
    match rng.u8(..8) {
        0 => {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= 1 << rng.u8(..8);
        }
        1 => {
            // A field of a block's header, or of its first entry.
            let at = some.0 + 4 * rng.usize(..12);
            if at + 4 <= bytes.len() {
                put(bytes, at, NUMBERS[rng.usize(..NUMBERS.len())]);
            }
        }
        2 => {
            let at = some.0 + 4 * rng.usize(..12);
            if at + 4 <= bytes.len() {
                let near = u32_at(bytes, at)
                    .wrapping_add(rng.u32(..17))
                    .wrapping_sub(8);
                put(bytes, at, near);
            }
        }
        3 => {
            // A field of the header; its context and what lies behind it.
            let at = 4 * rng.usize(2..60);
            put(bytes, at, NUMBERS[rng.usize(..NUMBERS.len())]);
        }
        4 => {
            let at = rng.usize(112..400);
            bytes[at] = rng.u8(..);
        }
        5 => {
            let copy = bytes[some.0..some.1].to_vec();
            bytes.splice(some.0..some.0, copy);
        }
        6 => drop(bytes.drain(some.0..some.1)),
        _ => {
            let (a, b) = (rng.usize(HEADER..=bytes.len()), rng.usize(..64));
            if rng.bool() {
                bytes.truncate(a.next_multiple_of(8).min(bytes.len()));
            } else {
                bytes.extend((0..8 * b).map(|_| rng.u8(..)));
            }
        }
    }
    if blocks(bytes).is_empty() {
        bytes.resize(HEADER + BLOCK, 0);
    }
}

/// Reads it in every way. Returns how many entries it has if all of it is accepted.
fn read(storage: &Watching, path: &Path) -> Result<u64> {
    let checkpoint = Directory::on(Arc::new(storage.clone()), dir())
        .open_checkpoint(path)?
        .with_control();
    let mut before: Option<Bytes> = None;
    let mut count = 0;
    for entry in checkpoint.entries()? {
        let entry = entry?;
        assert!(
            before.is_none_or(|before| before < entry.path),
            "not in order"
        );
        before = Some(entry.path);
        count += 1;
    }
    assert_eq!(count, checkpoint.len());
    let mut in_blocks = 0;
    for block in checkpoint.stored_blocks()? {
        in_blocks += block?.entries.len() as u64;
    }
    assert_eq!(in_blocks, count);
    Ok(count)
}

#[test]
fn no_content_makes_a_reader_panic_or_ask_for_more_than_there_is() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let disk = Simulated::new(1);
    let (journal, _) = common::open_with(&disk, small_options(22 << 10)).unwrap();
    (1..=90).for_each(|r| append(&journal, r).unwrap());
    journal.checkpoint().unwrap();
    (91..=100).for_each(|r| append(&journal, r).unwrap());
    journal.close().unwrap();
    let path = files(&disk, "ckpt").remove(0);
    let whole = disk.content(&path).unwrap();

    let mut again = whole.clone();
    reseal(&mut again);
    assert_eq!(again, whole, "checksums are computed as the format says");

    let storage = Watching {
        disk: disk.clone(),
        longest: Arc::default(),
    };
    let (mut accepted, mut refused) = (0, 0);
    for n in 0..variable("CAIRN_FUZZ", 30_000) {
        let mut bytes = whole.clone();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut bytes, &mut rng);
            if rng.u8(..4) > 0 {
                reseal(&mut bytes);
            }
        }
        let length = bytes.len() as u64;
        disk.overwrite(&path, bytes);
        storage.longest.store(0, Ordering::Relaxed);
        match read(&storage, &path) {
            Ok(_) => accepted += 1,
            Err(
                Error::CheckpointDamaged { .. }
                | Error::ForeignFile { .. }
                | Error::OtherFormat { .. },
            ) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        if n % 16 == 0 {
            // The journal as a whole, which still has all its records.
            let reader = Directory::on(Arc::new(storage.clone()), dir())
                .reader()
                .unwrap();
            let _ = reader.state(None);
        }
        let longest = storage.longest.load(Ordering::Relaxed);
        assert!(
            longest <= length.max(HEADER as u64),
            "{longest} bytes of {length}"
        );
    }
    println!("{refused} mutations refused, {accepted} accepted, all of these sorted and complete");
    assert!(refused > 1_000 && accepted > 100);
}
