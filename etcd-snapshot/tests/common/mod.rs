//! A store in memory that counts as etcd does, and what a snapshot of it must say. Written for the
//! tests alone: it shares no code with the library.

#![allow(dead_code)] // Each test binary uses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use cairn_etcd_snapshot::{
    Change, Encoder, Lease, Put, ReadOptions, Record, Snapshot, Summary, Window, WriteOptions,
};
use fastrand::Rng;

/// A number from the environment, so that figures are chosen by who runs a test.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// The seed of a random test, printed so that `CAIRN_SEED` can give it again.
pub(crate) fn seed() -> u64 {
    let seed = number("CAIRN_SEED", fastrand::u64(..));
    println!("CAIRN_SEED={seed}");
    seed
}

/// A key as it is at some revision.
pub(crate) type State = BTreeMap<Vec<u8>, (Put, i64)>;

/// A store and all that ever happened to it.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) records: Vec<Record>,
    pub(crate) leases: BTreeMap<i64, Lease>,
    state: State,
}

impl Store {
    /// A store with random changes at `revisions` revisions.
    pub(crate) fn random(rng: &mut Rng, revisions: i64) -> Self {
        let mut store = Self::default();
        for _ in 0..rng.usize(..6) {
            let lease = Lease {
                id: rng.i64(1..),
                ttl: rng.i64(600..9_000),
                remaining_ttl: 0,
            };
            store.leases.insert(lease.id, lease);
        }
        for _ in 0..revisions {
            store.change(rng);
        }
        store
    }

    pub(crate) fn revision(&self) -> i64 {
        self.records.last().map_or(1, |last| last.at.revision)
    }

    /// One more revision.
    fn change(&mut self, rng: &mut Rng) {
        let revision = self.revision() + 1;
        let count = if rng.u8(..) < 200 { 1 } else { rng.usize(1..8) };
        let keys: BTreeSet<Vec<u8>> = (0..count).map(|_| random_key(rng)).collect();
        for (sub, key) in (0..).zip(keys) {
            if rng.u8(..) < 60 && self.state.remove(&key).is_some() {
                self.records.push(Record::delete(revision, sub, key));
            } else {
                self.put(rng, revision, sub, key);
            }
        }
    }

    fn put(&mut self, rng: &mut Rng, revision: i64, sub: i64, key: Vec<u8>) {
        let before = self.state.get(&key).map(|(put, _)| put);
        let leases: Vec<i64> = self.leases.keys().copied().collect();
        let put = Put {
            key: key.clone().into(),
            value: random_value(rng).into(),
            create_revision: before.map_or(revision, |put| put.create_revision),
            version: before.map_or(1, |put| put.version + 1),
            lease: match rng.choice(leases) {
                Some(lease) if rng.bool() => lease,
                _ => 0,
            },
        };
        self.records.push(Record::put(revision, sub, put.clone()));
        self.state.insert(key, (put, revision));
    }

    /// Removes every key, one a revision.
    pub(crate) fn remove_all(&mut self) {
        for key in std::mem::take(&mut self.state).into_keys() {
            let revision = self.revision() + 1;
            self.records.push(Record::delete(revision, 0, key));
        }
    }

    pub(crate) fn state_at(&self, revision: i64) -> State {
        let mut state = State::new();
        for record in self.records.iter().filter(|r| r.at.revision <= revision) {
            match &record.change {
                Change::Put(put) => {
                    state.insert(put.key.to_vec(), (put.clone(), record.at.revision));
                }
                Change::Delete { key } => {
                    state.remove(&key[..]);
                }
                Change::Bump => panic!("the store makes none"),
            }
        }
        state
    }

    /// The state at C, and everything behind it up to R.
    pub(crate) fn window(&self, window: Window) -> Vec<Record> {
        let state = self.state_at(window.compacted);
        self.records
            .iter()
            .filter(|record| {
                let at = record.at.revision;
                let live = state
                    .get(record.key())
                    .is_some_and(|(_, newest)| *newest == at);
                (at > window.compacted && at <= window.revision) || (at <= window.compacted && live)
            })
            .cloned()
            .collect()
    }

    /// HashKV by its definition, over the records of this store as one member has them.
    pub(crate) fn hash_kv(&self, window: Window) -> u32 {
        let live = self.state_at(window.revision);
        let mut bytes = b"key".to_vec();
        for record in self.window(window) {
            let at = record.at.revision;
            let dead = live
                .get(record.key())
                .is_none_or(|(_, newest)| *newest != at);
            if at <= window.compacted && dead && !live.is_empty() {
                continue;
            }
            bytes.extend_from_slice(&at.to_be_bytes());
            bytes.push(b'_');
            bytes.extend_from_slice(&record.at.sub.to_be_bytes());
            match &record.change {
                Change::Put(put) => {
                    field(&mut bytes, 1, &put.key);
                    for (tag, number) in [(2, put.create_revision), (3, at), (4, put.version)] {
                        varint_field(&mut bytes, tag, number);
                    }
                    field(&mut bytes, 5, &put.value);
                    varint_field(&mut bytes, 6, put.lease);
                }
                Change::Delete { key } => {
                    bytes.push(b't');
                    field(&mut bytes, 1, key);
                }
                Change::Bump => {}
            }
        }
        castagnoli(&bytes)
    }

    /// The bytes of a snapshot of a window.
    pub(crate) fn snapshot(&self, window: Window, page_bytes: usize) -> (Vec<u8>, Summary) {
        let options = WriteOptions {
            compacted: window.compacted,
            page_bytes,
            ..WriteOptions::default()
        };
        encode(options, &self.window(window), self.leases.values())
    }

    /// A random window of it.
    pub(crate) fn random_window(&self, rng: &mut Rng) -> Window {
        let revision = rng.i64(1..=self.revision());
        Window {
            compacted: if rng.bool() { rng.i64(0..=revision) } else { 0 },
            revision,
        }
    }
}

/// The bytes of a snapshot of these records.
pub(crate) fn encode<'a>(
    options: WriteOptions,
    records: &[Record],
    leases: impl IntoIterator<Item = &'a Lease>,
) -> (Vec<u8>, Summary) {
    let mut encoder = Encoder::new(Cursor::new(Vec::new()), "memory", options).unwrap();
    for record in records {
        encoder.record(record).unwrap();
    }
    for lease in leases {
        encoder.lease(lease).unwrap();
    }
    let (file, summary) = encoder.finish().unwrap();
    (file.into_inner(), summary)
}

pub(crate) fn open(bytes: Vec<u8>) -> cairn_etcd_snapshot::Result<Snapshot> {
    Snapshot::from_bytes(bytes, "memory", ReadOptions::default())
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..) {
        0 => vec![0],
        1 => (0..=255).collect(),
        2 => vec![b'k'; rng.usize(1..9_000)],
        3..=60 => vec![rng.u8(..), rng.u8(..2)],
        _ => format!("/registry/{}/{}", rng.u8(..3), rng.u8(..40)).into_bytes(),
    }
}

fn random_value(rng: &mut Rng) -> Vec<u8> {
    let bytes = match rng.u8(..) {
        0..=30 => 0,
        31 => rng.usize(..70_000),
        32..=50 => rng.usize(..5_000),
        _ => rng.usize(..300),
    };
    vec![rng.u8(..); bytes]
}

fn field(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        to.push(tag << 3 | 2);
        varint(to, bytes.len() as u64);
        to.extend_from_slice(bytes);
    }
}

fn varint_field(to: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        to.push(tag << 3);
        varint(to, number.cast_unsigned());
    }
}

fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

/// CRC-32C, a bit at a time.
fn castagnoli(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}
