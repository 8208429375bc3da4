//! The logs that are compared. Each acknowledges a commit only after a sync that covers it.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timestamp};
use okaywal::{LogVoid, WriteAheadLog};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

/// Makes bytes durable.
pub(crate) trait Log: Sync {
    /// Returns once the bytes are durable. `writer` is the number of the calling thread.
    fn commit(&self, writer: usize, bytes: &bytes::Bytes);

    /// How many syncs of data were made since opening, where that is counted.
    fn syncs(&self) -> Option<u64> {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Raw,
    Naive,
    Cairn,
    Okaywal,
    RaftEngine,
}

impl System {
    pub(crate) const ALL: [Self; 5] = [
        Self::Raw,
        Self::Naive,
        Self::Cairn,
        Self::Okaywal,
        Self::RaftEngine,
    ];

    /// A log in `dir`, which is empty. Raw's file is kept in `raw` from one time to the next.
    pub(crate) fn open(self, dir: &Path, raw: &OnceLock<Raw>) -> Box<dyn Log> {
        match self {
            Self::Raw => Box::new(raw.get_or_init(|| Raw::create(dir)).clone()),
            Self::Naive => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(dir.join("naive"));
                Box::new(Naive(Mutex::new(file.unwrap())))
            }
            Self::Cairn => {
                let mut options = Options::default();
                // Nobody reads along here, neither in the others.
                options.uncached_bytes = 0;
                Box::new(Cairn(Journal::open(dir, options).unwrap().0))
            }
            Self::Okaywal => Box::new(Okay(WriteAheadLog::recover(dir, LogVoid).unwrap())),
            Self::RaftEngine => {
                let config = Config {
                    dir: dir.to_str().unwrap().to_owned(),
                    // The others do not compress either.
                    batch_compression_threshold: ReadableSize(0),
                    ..Config::default()
                };
                Box::new(Raft(Engine::open(config).unwrap(), AtomicI64::new(0)))
            }
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Naive => "naive",
            Self::Cairn => "cairn",
            Self::Okaywal => "okaywal",
            Self::RaftEngine => "raft-engine",
        })
    }
}

/// The floor: one `pwrite` and one `fdatasync` at a time into blocks that are allocated and
/// written. The file is made once, and has no name.
#[derive(Clone)]
pub(crate) struct Raw(Arc<Mutex<(File, u64)>>);

const RAW_BYTES: u64 = 256 << 20;

impl Raw {
    fn create(dir: &Path) -> Self {
        let file = tempfile::tempfile_in(dir).unwrap();
        let zeros = vec![0; 1 << 20];
        for i in 0..RAW_BYTES >> 20 {
            file.write_all_at(&zeros, i << 20).unwrap();
        }
        file.sync_all().unwrap();
        Self(Arc::new(Mutex::new((file, 0))))
    }
}

impl Log for Raw {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut at = self.0.lock().unwrap();
        if at.1 + bytes.len() as u64 > RAW_BYTES {
            at.1 = 0;
        }
        at.0.write_all_at(bytes, at.1).unwrap();
        rustix::fs::fdatasync(&at.0).unwrap();
        at.1 += bytes.len() as u64;
    }
}

/// What one writes without thinking: append and `fdatasync`.
struct Naive(Mutex<File>);

impl Log for Naive {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut file = self.0.lock().unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
    }
}

struct Cairn(Journal);

impl Log for Cairn {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        // One for all: revisions may not fall, and writers do not agree on an order.
        let revision = Revision(1);
        let change = Change::set("/bench", bytes.clone());
        let record = NewRecord::changes(revision, vec![change], Timestamp(0));
        self.0.append_and_commit(record).unwrap();
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.0.syncs())
    }
}

struct Okay(WriteAheadLog);

impl Log for Okay {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut entry = self.0.begin_entry().unwrap();
        entry.write_chunk(bytes).unwrap();
        entry.commit().unwrap();
    }
}

struct Raft(Engine, AtomicI64);

impl Log for Raft {
    fn commit(&self, writer: usize, bytes: &bytes::Bytes) {
        // Few keys: its memory holds the values.
        let key = self.1.fetch_add(1, Ordering::Relaxed) % 16;
        let mut batch = LogBatch::default();
        batch
            .put(
                writer as u64 + 1,
                key.to_le_bytes().to_vec(),
                bytes.to_vec(),
            )
            .unwrap();
        self.0.write(&mut batch, true).unwrap();
    }
}
