//! A snapshot that was opened: its facts, and the ways into its buckets.

use std::{fs::File, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    cursor::{Cursor, Root, last_key},
    entries::Entries,
    open::{Bucket, buckets, open},
    pager::Pages,
    records::{Leases, Records},
    source::{Source, Store},
};
use crate::{
    error::{Error, Result},
    format::{bucket, key},
    window::Window,
};

/// How a snapshot is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// No value of an entry is longer, in bytes; 64 MiB by default. It is what a damaged or hostile
    /// file can have in memory. etcd takes requests of 1.5 MiB unless told otherwise.
    pub max_entry_bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            max_entry_bytes: 64 << 20,
        }
    }
}

/// What the bucket `meta` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The newest raft entry that is applied.
    pub consistent_index: Option<u64>,
    /// The raft term of that entry; etcd 3.4 does not write it.
    pub term: Option<u64>,
    /// The revision up to which compaction is done.
    pub finished_compaction: Option<i64>,
    /// The revision up to which compaction was asked for. If it is the newer one, records that it
    /// removes may still be there; a member that starts removes them.
    pub scheduled_compaction: Option<i64>,
}

/// A snapshot of etcd v3 whose sha256 was right when it was opened.
///
/// Every iterator reads the file by position and has buffers of its own: 128 KiB, the branches on
/// the way down (a page each), and the largest entry.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pages: Arc<Pages>,
    buckets: Arc<[Bucket]>,
    meta: Meta,
    revision: i64,
}

impl Snapshot {
    /// Opens a file and reads it once, for its sha256.
    ///
    /// # Errors
    ///
    /// [`Error::NotASnapshot`], [`Error::Digest`], [`Error::Damaged`], and what reading can meet.
    pub fn open(path: impl AsRef<Path>, options: ReadOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(|source| Error::io(&path, "open", 0, source))?;
        let store = Store::File(file);
        Self::of(Source { store, path }, options)
    }

    /// A snapshot in a file that is open, and need not have a name any more. Errors call it `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Snapshot::open`].
    pub fn from_file(file: File, name: impl AsRef<Path>, options: ReadOptions) -> Result<Self> {
        let (store, path) = (Store::File(file), name.as_ref().to_owned());
        Self::of(Source { store, path }, options)
    }

    /// A snapshot in memory. Errors call it `name`.
    ///
    /// # Errors
    ///
    /// Those of [`Snapshot::open`].
    pub fn from_bytes(
        bytes: impl Into<Bytes>,
        name: impl AsRef<Path>,
        options: ReadOptions,
    ) -> Result<Self> {
        let (store, path) = (Store::Memory(bytes.into()), name.as_ref().to_owned());
        Self::of(Source { store, path }, options)
    }

    fn of(source: Source, options: ReadOptions) -> Result<Self> {
        let (pages, root) = open(source, options.max_entry_bytes)?;
        let pages = Arc::new(pages);
        let buckets = buckets(Cursor::over_buckets(Arc::clone(&pages), root))?;
        let mut snapshot = Self {
            pages,
            buckets: buckets.into(),
            meta: Meta::default(),
            revision: 0,
        };
        snapshot.meta = snapshot.read_meta()?;
        let newest = match last_key(&snapshot.pages, snapshot.root(bucket::KEY)?)? {
            None => 0,
            Some(last) => match key::decode(&last) {
                Some((at, _)) => at.revision,
                None => return Err(snapshot.no_snapshot("the last key of its history is none")),
            },
        };
        snapshot.revision = newest.max(snapshot.compacted()).max(1);
        Ok(snapshot)
    }

    /// What the bucket `meta` says.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// The revision at which a member stands that starts from this.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision below which nothing can be asked of a member that starts from this; 0 if
    /// nothing was ever compacted.
    pub fn compacted(&self) -> i64 {
        let Meta {
            finished_compaction: finished,
            scheduled_compaction: scheduled,
            ..
        } = self.meta;
        finished.max(scheduled).unwrap_or(0)
    }

    /// Both: what the file tells.
    pub fn window(&self) -> Window {
        Window {
            compacted: self.compacted(),
            revision: self.revision(),
        }
    }

    /// Every record of the history, in order. A real file may still have records of before the
    /// compacted revision that no longer count; [`history`](crate::history()) leaves them out.
    ///
    /// # Errors
    ///
    /// [`Error::NotASnapshot`] if the file has no bucket for them.
    pub fn records(&self) -> Result<Records> {
        self.cursor(bucket::KEY).map(Records)
    }

    /// Every lease, in ascending order of the ids' bytes: negative ids come last.
    ///
    /// # Errors
    ///
    /// [`Error::NotASnapshot`] if the file has no bucket for them.
    pub fn leases(&self) -> Result<Leases> {
        self.cursor(bucket::LEASE).map(Leases)
    }

    /// The names of the buckets, in order.
    pub fn buckets(&self) -> impl Iterator<Item = &[u8]> {
        self.buckets.iter().map(|(name, _)| name.as_slice())
    }

    /// The entries of any bucket as they are, in order; `None` if there is no such bucket.
    pub fn entries(&self, bucket: &[u8]) -> Option<Entries> {
        let root = self.find(bucket)?;
        Some(Entries(Cursor::new(Arc::clone(&self.pages), root)))
    }

    pub(crate) fn cursor(&self, bucket: &[u8]) -> Result<Cursor> {
        let root = self.root(bucket)?;
        Ok(Cursor::new(Arc::clone(&self.pages), root))
    }

    fn find(&self, name: &[u8]) -> Option<Root> {
        let index = self
            .buckets
            .binary_search_by(|(bucket, _)| bucket.as_slice().cmp(name));
        index.ok().map(|index| self.buckets[index].1)
    }

    fn root(&self, name: &[u8]) -> Result<Root> {
        self.find(name)
            .ok_or_else(|| self.no_snapshot(format!("it has no bucket {}", name.escape_ascii())))
    }

    fn no_snapshot(&self, detail: impl Into<String>) -> Error {
        Error::NotASnapshot {
            path: self.pages.source.path.clone(),
            detail: detail.into(),
        }
    }

    fn read_meta(&self) -> Result<Meta> {
        let mut meta = Meta::default();
        let mut cursor = self.cursor(bucket::META)?;
        while let Some(entry) = cursor.next()? {
            let (page, offset) = (entry.page, entry.offset);
            let number = bucket::decode_u64(entry.value);
            let revision = key::decode(entry.value).map(|(at, _)| at.revision);
            let sound = match entry.key {
                bucket::CONSISTENT_INDEX => {
                    meta.consistent_index = number;
                    number.is_some()
                }
                bucket::TERM => {
                    meta.term = number;
                    number.is_some()
                }
                bucket::FINISHED_COMPACTION => {
                    meta.finished_compaction = revision;
                    revision.is_some()
                }
                bucket::SCHEDULED_COMPACTION => {
                    meta.scheduled_compaction = revision;
                    revision.is_some()
                }
                _ => true, // later versions keep more here
            };
            if !sound {
                let detail = "a value of the bucket meta has the wrong form";
                return Err(self.pages.damaged(page, offset, detail));
            }
        }
        Ok(meta)
    }
}
