//! Journals in memory for the targets: written from the fuzzer's choice, damaged, read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbitrary::Arbitrary;
use cairn_journal::storage::simulated::Simulated;
use cairn_journal::storage::{Access, Storage as _};
use cairn_journal::{
    Change, Directory, Entry, Journal, NewRecord, Options, Reader, Revision, State, Timestamp,
};

const DIR: &str = "/journal";

/// One change of few keys, so that they meet.
#[derive(Arbitrary, Clone, Debug)]
pub struct Write {
    key: u8,
    /// `None`: a delete.
    value: Option<Vec<u8>>,
}

/// Up to four bytes in a row, which is no more than every CRC-32 finds out.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Damage {
    file: u8,
    offset: u32,
    bytes: [u8; 4],
}

/// A journal on a disk in memory.
pub struct Sample {
    disk: Simulated,
}

impl Default for Sample {
    fn default() -> Self {
        let disk = Simulated::new(1);
        disk.create_dir(Path::new(DIR)).unwrap();
        Self { disk }
    }
}

impl Sample {
    /// Opens it for writing, with small limits, and nothing that happens by itself.
    pub fn open(&self) -> cairn_journal::Result<Journal> {
        let mut options = Options::default();
        options.max_payload_bytes = 1 << 10;
        options.segment_bytes = 26 << 10;
        options.max_queued_bytes = 64 << 10;
        options.idle_watermark = None;
        options.preallocate = false;
        Ok(self.directory().open(options)?.0)
    }

    /// Its directory.
    pub fn directory(&self) -> Directory {
        Directory::on(Arc::new(self.disk.clone()), DIR)
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = Path::new(DIR).join(name);
        let file = self.disk.open(&path, Access::CreateNew).unwrap();
        assert_eq!(file.write_at(bytes, 0).unwrap(), bytes.len());
        file.sync_all().unwrap();
        self.disk.sync_dir(Path::new(DIR)).unwrap();
        path
    }

    /// Changes some bytes of a file with this extension. Whether it has changed then.
    pub fn damage(&self, extension: &str, damage: Damage) -> bool {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.extension().is_some_and(|e| e == extension));
        if paths.is_empty() {
            return false;
        }
        let path = &paths[usize::from(damage.file) % paths.len()];
        let before = self.disk.content(path).unwrap();
        let mut after = before.clone();
        let offset = damage.offset as usize % before.len();
        for (at, byte) in after[offset..].iter_mut().zip(damage.bytes) {
            *at = byte;
        }
        let has_changed = after != before;
        self.disk.overwrite(path, after);
        has_changed
    }

    /// What its records say, up to the first that cannot be read.
    pub fn records(&self) -> Vec<(Revision, Entry)> {
        let reader = self.directory().reader();
        let records = reader
            .iter()
            .flat_map(Reader::records)
            .map_while(Result::ok);
        records
            .map(|record| (record.revision, record.entry))
            .collect()
    }
}

/// Appends each as a record of its own, at revisions from `first` on; takes them into a state, too.
pub fn append(journal: &Journal, writes: &[Write], first: i64, state: &mut State) {
    for (revision, write) in (first..).map(Revision).zip(writes) {
        let path = format!("/{}", write.key % 16);
        let change = match &write.value {
            Some(value) => Change::set(path, value[..value.len().min(512)].to_vec()),
            None => Change::delete(path),
        };
        state.apply(revision, &change);
        state.revision = revision;
        let record = NewRecord::changes(revision, vec![change], Timestamp(1));
        journal.append_and_commit(record).unwrap();
    }
}
