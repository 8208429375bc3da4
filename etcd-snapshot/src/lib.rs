//! Snapshot files of etcd v3, written, read and hashed without etcd.
//!
//! A snapshot file is what `etcdctl snapshot save` and `Maintenance.Snapshot` give: a bbolt
//! database and its sha256. etcd's own `snapshot restore` starts members from one. So a file with
//! the right records brings a cluster back exactly as it was: create and mod revisions, versions,
//! leases, and as much of the history as there is, readable and watchable at its old revisions.
//!
//! ```
//! use cairn_etcd_snapshot::{
//!     Lease, Put, ReadOptions, Record, Snapshot, Window, WriteOptions, Writer, hash_kv,
//! };
//!
//! # fn main() -> cairn_etcd_snapshot::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("cluster.db");
//! // The state at revision 7 was one key; revision 8 set another, revision 9 removed the first.
//! let options = WriteOptions { compacted: 7, ..WriteOptions::default() };
//! let mut writer = Writer::create(&path, options)?;
//! let put = |key: &'static str, create_revision, lease| Put {
//!     key: key.into(),
//!     value: "value".into(),
//!     create_revision,
//!     version: 1,
//!     lease,
//! };
//! writer.record(&Record::put(5, 0, put("a", 5, 0)))?;
//! writer.record(&Record::put(8, 0, put("b", 8, 0x1234)))?;
//! writer.record(&Record::delete(9, 0, "a"))?;
//! writer.lease(&Lease { id: 0x1234, ttl: 60, remaining_ttl: 0 })?;
//! let summary = writer.finish()?; // synced, and under its name
//! assert_eq!(summary.revision, 9);
//!
//! let snapshot = Snapshot::open(&path, ReadOptions::default())?; // its sha256 is right
//! assert_eq!(snapshot.window(), Window { compacted: 7, revision: 9 });
//! for record in snapshot.records()? {
//!     println!("{:?}", record?);
//! }
//! // What `etcdctl endpoint hashkv` will say on every member that is restored from the file.
//! println!("{}", hash_kv(&snapshot, snapshot.window())?);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! `docs/etcd-snapshot.md` has the bytes, and the etcd versions that were tried.
//!
//! 1. A file of this crate is whole, synced and closed with its sha256 before it has its name, and
//!    no file is ever replaced.
//! 2. Records out of order, a hole in the history, and records that no etcd would have written are
//!    refused. What cannot be seen one record at a time is the caller's: that a key's versions
//!    follow one another, and that a lease of a key is there.
//! 3. Neither writing nor reading takes memory for the number of records; `hash_kv` and `history`
//!    take a bit a record.
//! 4. A file that is damaged, or made to harm, gives an error that names page and offset. It cannot
//!    cause a panic, an endless loop, or more memory than [`ReadOptions`] allow.
//! 5. A record with fields that this version does not know is an error when it is read as a
//!    [`Record`]: nothing is lost in silence on the way from one file to another.
//!
//! Not here: members, raft logs and data directories, which `snapshot restore` makes; the meaning
//! of users and roles, whose buckets can be read as they are ([`Snapshot::entries`]) and are
//! written empty.

mod attributes;
mod error;
mod format;
mod hash_kv;
mod history;
#[cfg(feature = "journal")]
mod journal;
mod live;
mod read;
mod record;
mod revert;
mod window;
mod write;

pub use attributes::KeyAttributes;
pub use error::{Error, Result};
pub use format::size::DEFAULT_PAGE_BYTES;
pub use hash_kv::hash_kv;
pub use history::{History, history};
#[cfg(feature = "journal")]
pub use journal::{JournalRecords, journal_records};
pub use read::{
    entries::Entries,
    records::{Leases, Records},
    snapshot::{Meta, ReadOptions, Snapshot},
};
pub use record::{Change, Lease, Position, Put, Record};
pub use revert::revert;
pub use window::Window;
pub use write::{
    encoder::{Encoder, Summary, WriteOptions},
    file::Writer,
};
