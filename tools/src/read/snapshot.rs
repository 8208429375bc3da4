//! A snapshot file of etcd as a source of records: those of a persister that saw all that it tells.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_etcd_snapshot::{JournalRecords, ReadOptions, Snapshot, Window, journal_records};
use cairn_journal::{Entry, Location, Record, Sequence, Timestamp};
use cairn_protocol::keys;

/// Where bbolt says what it is, and how.
const MAGIC_AT: usize = 16;
const MAGIC: [u8; 4] = [0xed, 0xda, 0x0c, 0xed];

/// No snapshot says when anything happened.
const UNKNOWN: Timestamp = Timestamp(0);

/// How many bytes of a file tell whether it is a snapshot.
pub(crate) const HEAD: u64 = 20;

/// Whether a file that begins with `head` is a snapshot, or was one.
pub(crate) fn is_snapshot(head: &[u8]) -> bool {
    head.get(MAGIC_AT..) == Some(&MAGIC[..])
}

/// A snapshot file whose sha256 is right.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    snapshot: Snapshot,
    path: Arc<PathBuf>,
    with_control: bool,
}

impl SnapshotFile {
    /// Opens it, and reads it once for its sha256.
    pub fn open(path: &Path) -> cairn_etcd_snapshot::Result<Self> {
        Ok(Self {
            snapshot: Snapshot::open(path, ReadOptions::default())?,
            path: Arc::new(path.to_owned()),
            with_control: false,
        })
    }

    /// Shows control writes, too.
    #[must_use]
    pub fn with_control(self) -> Self {
        Self {
            with_control: true,
            ..self
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it tells: the state at one revision, and the history after it.
    #[must_use]
    pub fn window(&self) -> Window {
        self.snapshot.window()
    }

    /// Its records.
    pub fn records(&self) -> cairn_etcd_snapshot::Result<SnapshotRecords> {
        let control = keys::FLAT_ROOT.as_bytes();
        Ok(SnapshotRecords {
            records: journal_records(&self.snapshot, control, UNKNOWN)?,
            path: Arc::clone(&self.path),
            with_control: self.with_control,
            sequence: Sequence::NONE,
        })
    }
}

/// Iterates over the records of a snapshot, each with a sequence. After an error there is nothing
/// more.
pub struct SnapshotRecords {
    records: JournalRecords,
    path: Arc<PathBuf>,
    with_control: bool,
    sequence: Sequence,
}

impl fmt::Debug for SnapshotRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotRecords")
            .field("path", &self.path)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Iterator for SnapshotRecords {
    type Item = cairn_etcd_snapshot::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let mut entry = record.entry().clone();
        if let Entry::Changes { changes, .. } = &mut entry
            && !self.with_control
        {
            changes.retain(|change| !change.is_control);
        }
        self.sequence = self.sequence.next();
        Some(Ok(Record {
            sequence: self.sequence,
            synced: Sequence::NONE,
            revision: record.revision(),
            entry,
            // A record is several entries of the file.
            location: Location {
                file: Arc::clone(&self.path),
                offset: 0,
                length: 0,
            },
        }))
    }
}
