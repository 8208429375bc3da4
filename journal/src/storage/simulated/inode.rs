//! The content of one simulated file: what reads return, what is on the disk, and what is between.

use std::{collections::BTreeSet, io};

use fastrand::Rng;

use crate::storage::simulated::fault::{SECTOR_BYTES, Survival};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads return.
    pub(super) seen: Vec<u8>,
    /// What is on the disk for certain.
    pub(super) safe: Vec<u8>,
    /// Sectors written since the last sync, in order.
    pub(super) written: Vec<(usize, [u8; SECTOR_BYTES])>,
    /// Lengths since the last sync, in order.
    pub(super) lengths: Vec<usize>,
    /// Sectors that cannot be read, until they are written anew.
    pub(super) unreadable: BTreeSet<usize>,
}

impl Inode {
    pub(super) fn note(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let mut content = [0; SECTOR_BYTES];
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.seen.len());
            content[..end - start].copy_from_slice(&self.seen[start..end]);
            self.written.push((sector, content));
            self.unreadable.remove(&sector);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.seen.resize(end, 0);
            self.lengths.push(end);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.note(offset, end);
    }

    pub(super) fn set_len(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.lengths.push(length);
    }

    /// Reads up to the first sector that cannot be read; if that is where reading begins, fails, as
    /// a disk does.
    pub(super) fn read(&self, into: &mut [u8], offset: usize) -> io::Result<usize> {
        let from = offset.min(self.seen.len());
        let to = (from + into.len()).min(self.seen.len());
        let bad = self.unreadable.range(from / SECTOR_BYTES..).next();
        let to = bad.map_or(to, |sector| to.min((sector * SECTOR_BYTES).max(from)));
        if to == from && from < self.seen.len() && !into.is_empty() {
            return Err(io::Error::from_raw_os_error(5));
        }
        into[..to - from].copy_from_slice(&self.seen[from..to]);
        Ok(to - from)
    }

    /// Only what was written since goes to the disk: a sync does not heal what an earlier, failed
    /// one left undone.
    pub(super) fn synced(&mut self) {
        if let Some(length) = self.lengths.last() {
            self.safe.resize(*length, 0);
        }
        for (sector, bytes) in &self.written {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.safe.len());
            if start < end {
                self.safe[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        self.written.clear();
        self.lengths.clear();
    }

    /// Only what lies in `from..to`, and a length that it can be read back with: all that a write
    /// that is a sync of its own makes sure of. What was written elsewhere before is left as it is.
    pub(super) fn synced_within(&mut self, from: usize, to: usize) {
        if to > self.safe.len() {
            self.safe.resize(to, 0);
        }
        self.lengths.retain(|length| *length > to);
        let sectors = from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES);
        for (sector, bytes) in self.written.extract_if(.., |(n, _)| sectors.contains(n)) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.safe.len());
            self.safe[start..end].copy_from_slice(&bytes[..end - start]);
        }
    }

    /// What is on the disk after this survival.
    pub(super) fn survivor(&self, survival: Survival, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.safe.clone();
        let mut length = content.len();
        for l in &self.lengths {
            if survival.keeps(rng) {
                length = *l;
            }
        }
        content.resize(length, 0);
        for (sector, bytes) in &self.written {
            let start = sector * SECTOR_BYTES;
            if start < length && survival.keeps(rng) {
                let end = (start + SECTOR_BYTES).min(length);
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        content
    }

    /// The kernel gave up writing: reads go on returning what was written, the disk has any part.
    pub(super) fn sync_failed(&mut self, rng: &mut Rng) {
        self.safe = self.survivor(Survival::Any, rng);
        self.written.clear();
        self.lengths.clear();
    }
}
