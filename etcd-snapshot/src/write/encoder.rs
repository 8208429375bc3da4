//! Records and leases to the bytes of a snapshot, in any file that can be written and read back.

use std::{
    io::{Read, Seek, Write},
    path::PathBuf,
};

use prost::Message;

use super::{
    rules::{Rules, fits},
    sink::PageSink,
    tree::Tree,
};
use crate::{
    error::{Error, Result},
    format::{
        bucket, key, message,
        page::BUCKET,
        size::{DEFAULT_PAGE_BYTES, is_page_size},
    },
    record::{Change, Lease, Position, Record},
};

/// What a snapshot says of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The compacted revision C. Up to C the file has the state at C, behind it the whole history.
    /// A member that starts from it stands at C if no record is newer. 0, the default: nothing was
    /// ever compacted.
    pub compacted: i64,
    /// The raft entry that the snapshot stands for, 1 by default. `snapshot restore` sets its own.
    pub consistent_index: u64,
    /// The raft term of that entry, 1 by default. `snapshot restore` sets its own.
    pub term: u64,
    /// Bytes of a page: a power of two from 1,024 to 65,536; [`DEFAULT_PAGE_BYTES`] by default.
    /// etcd reads any.
    pub page_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            compacted: 0,
            consistent_index: 1,
            term: 1,
            page_bytes: DEFAULT_PAGE_BYTES,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The revision at which a member stands that starts from the file.
    pub revision: i64,
    /// The compacted revision, 0 for none.
    pub compacted: i64,
    /// Records, of which there is one a change.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its last 32 bytes, the sha256 of all others.
    pub sha256: [u8; 32],
}

/// Writes a snapshot into anything that can be written, sought and read back.
///
/// Records come in ascending order, leases in ascending order of their ids; the two may alternate.
/// The memory in use does not depend on how many there are: a buffer of 256 KiB, twice the largest
/// record, and a few pages.
pub struct Encoder<F: Read + Write + Seek> {
    sink: PageSink<F>,
    options: WriteOptions,
    rules: Rules,
    records: Tree,
    leases: Tree,
    record_count: u64,
    lease_count: u64,
}

impl<F: Read + Write + Seek> Encoder<F> {
    /// Writes into `file`, which is empty and stands at its beginning. Errors call it `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Options`], and what writing can meet.
    pub fn new(file: F, name: impl Into<PathBuf>, options: WriteOptions) -> Result<Self> {
        if options.compacted < 0 || options.compacted == i64::MAX {
            let (option, detail) = ("compacted", "a revision is from 0 to 2^63 - 2");
            return Err(Error::Options { option, detail });
        }
        if !is_page_size(options.page_bytes) {
            let (option, detail) = ("page_bytes", "a power of two from 1,024 to 65,536");
            return Err(Error::Options { option, detail });
        }
        Ok(Self {
            sink: PageSink::new(file, name.into(), options.page_bytes)?,
            options,
            rules: Rules::new(options.compacted),
            records: Tree::default(),
            leases: Tree::default(),
            record_count: 0,
            lease_count: 0,
        })
    }

    /// Writes the next record.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`], [`Error::Hole`] and [`Error::Record`] leave everything as it was.
    /// After any other nothing more is written.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        let at = record.at;
        let message = message_of(record);
        let bytes = message.encoded_len();
        fits(at, bytes)?;
        self.rules.record(record)?;
        let (key, key_bytes) = key::encode(at, matches!(record.change, Change::Delete { .. }));
        let encode = |to: &mut Vec<u8>| append(&message, to);
        self.records
            .push(&mut self.sink, 0, &key[..key_bytes], bytes, encode)?;
        self.record_count += 1;
        Ok(())
    }

    /// Writes the next lease.
    ///
    /// # Errors
    ///
    /// [`Error::Lease`] leaves everything as it was. After any other nothing more is written.
    pub fn lease(&mut self, lease: &Lease) -> Result<()> {
        self.rules.lease(lease)?;
        let message = message::Lease {
            id: lease.id,
            ttl: lease.ttl,
            remaining_ttl: lease.remaining_ttl,
        };
        let (key, bytes) = (lease.id.to_be_bytes(), message.encoded_len());
        let encode = |to: &mut Vec<u8>| append(&message, to);
        self.leases.push(&mut self.sink, 0, &key, bytes, encode)?;
        self.lease_count += 1;
        Ok(())
    }

    /// Writes what is left, reads the whole file back, and closes it with its sha256. Syncing the
    /// file is left to the caller.
    ///
    /// # Errors
    ///
    /// What writing and reading back can meet.
    pub fn finish(mut self) -> Result<(F, Summary)> {
        let sink = &mut self.sink;
        let (mut records, mut leases) = (Some(self.records), Some(self.leases));
        let mut root = Tree::default();
        for name in bucket::ALL {
            let tree = match name {
                bucket::KEY => records.take().unwrap_or_default(),
                bucket::LEASE => leases.take().unwrap_or_default(),
                bucket::META => meta(sink, &self.options)?,
                _ => Tree::default(),
            };
            let value = tree.into_bucket(sink)?;
            let encode = |to: &mut Vec<u8>| to.extend_from_slice(&value);
            root.push(sink, BUCKET, name, value.len(), encode)?;
        }
        let root = root.into_page(sink)?;
        let (file, sealed) = self.sink.seal(root)?;
        let summary = Summary {
            revision: self.rules.revision(),
            compacted: self.options.compacted,
            records: self.record_count,
            leases: self.lease_count,
            bytes: sealed.bytes,
            sha256: sealed.sha256,
        };
        Ok((file, summary))
    }
}

/// The bucket of the store's own values.
fn meta<F: Read + Write + Seek>(sink: &mut PageSink<F>, options: &WriteOptions) -> Result<Tree> {
    let index = options.consistent_index.to_be_bytes();
    let term = options.term.to_be_bytes();
    let compacted = key::encode_position(Position {
        revision: options.compacted,
        sub: 0,
    });
    let mut values: Vec<(&[u8], &[u8])> = vec![(bucket::CONSISTENT_INDEX, &index)];
    if options.compacted > 0 {
        values.push((bucket::FINISHED_COMPACTION, &compacted));
        values.push((bucket::SCHEDULED_COMPACTION, &compacted));
    }
    values.push((bucket::TERM, &term));
    let mut tree = Tree::default();
    for (name, value) in values {
        let encode = |to: &mut Vec<u8>| to.extend_from_slice(value);
        tree.push(sink, 0, name, value.len(), encode)?;
    }
    Ok(tree)
}

fn append(message: &impl Message, to: &mut Vec<u8>) {
    message.encode(to).expect("a vector takes any length");
}

fn message_of(record: &Record) -> message::KeyValue {
    match &record.change {
        Change::Put(put) => message::KeyValue {
            key: put.key.clone(),
            create_revision: put.create_revision,
            mod_revision: record.at.revision,
            version: put.version,
            value: put.value.clone(),
            lease: put.lease,
        },
        Change::Delete { key } => message::KeyValue {
            key: key.clone(),
            ..message::KeyValue::default()
        },
        Change::Bump => message::KeyValue::default(),
    }
}
