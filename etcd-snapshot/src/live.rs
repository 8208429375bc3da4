//! Which records of the compacted part still are their key's newest.
//!
//! One bit a record, and the newest record of each key while they are gone through. Keys are told
//! apart by 128 bits of SipHash under random keys. If they are more than fit into memory, the range
//! of the hash is halved until they do, and the rest of it is left to another pass over the file.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use prost::Message;

use crate::{
    error::Result,
    format::{bucket, key, message::KeyOnly},
    read::snapshot::Snapshot,
};

/// Keys that are held at once: a table of 2^20 slots of 25 bytes takes one more before it grows.
pub(crate) const KEYS_IN_MEMORY: usize = (1 << 20) / 8 * 7 - 1;

/// A set of records, by their number in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    bits: Vec<u64>,
}

impl Live {
    pub(crate) fn contains(&self, record: usize) -> bool {
        self.bits
            .get(record / 64)
            .is_some_and(|word| word >> (record % 64) & 1 == 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    fn insert(&mut self, record: usize) {
        if self.bits.len() <= record / 64 {
            self.bits.resize(record / 64 + 1, 0);
        }
        self.bits[record / 64] |= 1 << (record % 64);
    }

    fn remove(&mut self, record: usize) {
        self.bits[record / 64] &= !(1 << (record % 64));
    }
}

/// The records of revisions up to `up_to` that are live at revision `at`: the newest of a key that
/// exists then.
pub(crate) fn live(
    snapshot: &Snapshot,
    up_to: i64,
    at: i64,
    keys_in_memory: usize,
) -> Result<Live> {
    let hashers = [RandomState::new(), RandomState::new()];
    let mut live = Live::default();
    let mut low = 0;
    loop {
        let mut high = u64::MAX;
        let mut newest: HashMap<[u64; 2], usize> = HashMap::new();
        let mut message = KeyOnly::default();
        let mut cursor = snapshot.cursor(bucket::KEY)?;
        for record in 0.. {
            let Some(entry) = cursor.next()? else { break };
            let (page, offset) = (entry.page, entry.offset);
            let decoded = key::decode(entry.key);
            message.clear();
            let (Some((position, delete)), Ok(())) = (decoded, message.merge(entry.value)) else {
                let detail = "not a record";
                return Err(cursor.pages().damaged(page, offset, detail));
            };
            if position.revision > at {
                break;
            }
            let print = [0, 1].map(|n: usize| hashers[n].hash_one(&message.key));
            if !(low..=high).contains(&print[0]) {
                continue;
            }
            let before = if delete || position.revision > up_to {
                newest.remove(&print)
            } else {
                live.insert(record);
                newest.insert(print, record)
            };
            if let Some(before) = before {
                live.remove(before);
            }
            if newest.len() > keys_in_memory {
                // A later pass decides anew on every record of the keys that are left out here.
                high = low + (high - low) / 2;
                newest.retain(|print, _| print[0] <= high);
            }
        }
        if high == u64::MAX {
            return Ok(live);
        }
        low = high + 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{Encoder, Put, ReadOptions, Record, WriteOptions};

    #[test]
    fn any_number_of_passes_finds_the_same_records() {
        let options = WriteOptions {
            compacted: 1000,
            ..WriteOptions::default()
        };
        let mut encoder = Encoder::new(Cursor::new(Vec::new()), "memory", options).unwrap();
        for revision in 1..2000 {
            let key = (revision * 7 % 300).to_string();
            let record = if revision > 1000 && revision % 3 == 0 {
                Record::delete(revision, 0, key)
            } else {
                let put = Put {
                    key: key.into(),
                    create_revision: 1,
                    version: 1,
                    ..Put::default()
                };
                Record::put(revision, 0, put)
            };
            encoder.record(&record).unwrap();
        }
        let (file, _) = encoder.finish().unwrap();
        let snapshot =
            Snapshot::from_bytes(file.into_inner(), "memory", ReadOptions::default()).unwrap();
        for (up_to, at) in [(1000, 1000), (1000, 1150), (1999, 1999)] {
            let all = live(&snapshot, up_to, at, KEYS_IN_MEMORY).unwrap();
            let count = (0..2000).filter(|record| all.contains(*record)).count();
            assert!((1..=300).contains(&count), "{count}");
            for keys_in_memory in [1, 2, 17, 100] {
                assert_eq!(live(&snapshot, up_to, at, keys_in_memory).unwrap(), all);
            }
        }
    }
}
