//! The file, in order: the state, the history behind it, the new identity, the way back to an older
//! state.

use std::path::Path;

use bytes::Bytes;
use cairn_etcd_snapshot::{Put, Record, Summary, WriteOptions, Writer, revert};
use cairn_journal::maintain::SortedEntries;
use cairn_journal::{Reader, Stop};

use crate::cluster::control::ControlKey;
use crate::cluster::etcd::names::PAD_KEY;
use crate::cluster::etcd::names::{RULES, control};
use crate::error::Error;
use crate::file_error::FileError;
use crate::restore::progress_bar::Bar;
use crate::restore::snapshot_file::look::Look;
use crate::restore::snapshot_file::plan::Plan;
use crate::restore::snapshot_file::records::{StateRecords, history, put_of};

/// The bytes of one revision of a way back: a message of a watch has no more.
const REVERT_BYTES: usize = 1 << 20;

/// How many keys without their lease are named.
const NAMED: usize = 10;

/// Where the journal is, and where files may lie meanwhile.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) reader: &'a Reader,
    pub(super) scratch: &'a Path,
    pub(super) stop: &'a Stop,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) summary: Summary,
    /// Revisions that were filled.
    pub(super) filled: u64,
    /// Puts whose number within their revision the journal does not know.
    pub(super) unnumbered: u64,
    /// Changes that lead back to the older state.
    pub(super) reverted: u64,
    /// Keys that came back without the lease that they had, and the first of them.
    pub(super) detached: u64,
    pub(super) named: Vec<Bytes>,
}

/// Writes the file under this name.
pub(super) fn write(
    from: From<'_>,
    plan: &Plan,
    look: &Look,
    path: &Path,
) -> Result<Written, Error> {
    let From {
        reader,
        scratch,
        stop,
    } = from;
    let state = reader.sorted_state(plan.state.sequence, scratch, stop)?;
    let mut state = StateRecords::sort(state.entries, scratch, stop)?;
    let options = WriteOptions {
        compacted: plan.compacted.0,
        ..WriteOptions::default()
    };
    let mut out = Out {
        writer: Writer::create(path, options).map_err(FileError::from)?,
        bar: Bar::new("writing the file", look.digest.keys),
        padded: false,
    };
    while let Some(record) = state.next()? {
        stop.check()?;
        out.record(&record)?;
    }
    let filled = history(reader, plan.state, plan.newest, stop, |record| {
        out.record(&record)
    })?;
    out.identity(plan, look)?;
    let mut written = out.revert(from, plan, look)?;
    for lease in &look.leases {
        out.writer.lease(lease).map_err(FileError::from)?;
    }
    out.bar.done();
    written.summary = out.writer.finish().map_err(FileError::from)?;
    Ok(Written {
        filled,
        unnumbered: state.unnumbered,
        ..written
    })
}

struct Out {
    writer: Writer,
    bar: Bar,
    /// Whether the key that fills revisions is there.
    padded: bool,
}

impl Out {
    fn record(&mut self, record: &Record) -> Result<(), Error> {
        self.bar.one();
        self.padded |= matches!(&record.change, cairn_etcd_snapshot::Change::Put(put)
            if put.key == PAD_KEY);
        Ok(self.writer.record(record).map_err(FileError::from)?)
    }

    /// One revision: the identity, and the end of what belonged to the lost cluster.
    fn identity(&mut self, plan: &Plan, look: &Look) -> Result<(), Error> {
        let at = plan.identity_at.0;
        let before = look.identity.as_ref();
        let put = Put {
            key: control(&ControlKey::Identity),
            value: plan.identity.to_string().into(),
            create_revision: before.map_or(at, |before| before.create_revision),
            version: before.map_or(1, |before| before.version + 1),
            lease: 0,
        };
        self.record(&Record::put(at, 0, put))?;
        let pad = Bytes::from_static(PAD_KEY);
        let pads = (self.padded && !look.ended.contains(&pad)).then_some(pad);
        for (sub, key) in (1..).zip(look.ended.iter().cloned().chain(pads)) {
            self.record(&Record::delete(at, sub, key))?;
        }
        Ok(())
    }

    /// The way back to the older state, if one is wanted.
    fn revert(&mut self, from: From<'_>, plan: &Plan, look: &Look) -> Result<Written, Error> {
        let mut written = Written {
            summary: NOTHING,
            filled: 0,
            unnumbered: 0,
            reverted: 0,
            detached: 0,
            named: Vec::new(),
        };
        let Some(older) = plan.older else {
            return Ok(written);
        };
        let state = |at| from.reader.sorted_state(at, from.scratch, from.stop);
        let older = data(state(older.sequence)?.entries);
        let newest = data(state(plan.newest.sequence)?.entries);
        // Neither of the two can end the merge: what failed stands here.
        let (mut failed_older, mut failed_newest) = (None, None);
        // No lease with a negative id is ever there: such a key is left as it is.
        let known = |lease| look.leases.binary_search_by_key(&lease, |known| known.id);
        let is_there = |lease| lease <= 0 || known(lease).is_ok();
        let older = until_failed(older, &mut failed_older).map(|mut put| {
            if !is_there(put.lease) {
                written.detached += 1;
                if written.named.len() < NAMED {
                    written.named.push(put.key.clone());
                }
                put.lease = 0;
            }
            put
        });
        let newest = until_failed(newest, &mut failed_newest);
        let first = plan.identity_at.next().0;
        let mut reverted = 0;
        for record in revert(older, newest, first, REVERT_BYTES) {
            from.stop.check()?;
            self.record(&record.map_err(FileError::from)?)?;
            reverted += 1;
        }
        if let Some(error) = failed_older.or(failed_newest) {
            return Err(error);
        }
        written.reverted = reverted;
        Ok(written)
    }
}

const NOTHING: Summary = Summary {
    revision: 0,
    compacted: 0,
    records: 0,
    leases: 0,
    bytes: 0,
    sha256: [0; 32],
};

/// The keys of applications, by path.
fn data(entries: SortedEntries) -> impl Iterator<Item = Result<Put, Error>> {
    let puts = entries.map(|entry| Ok(put_of(entry?)?.0));
    puts.filter(|put| !matches!(put, Ok(put) if RULES.is_control(&put.key)))
}

/// The puts up to the first error, which is kept.
fn until_failed(
    puts: impl Iterator<Item = Result<Put, Error>>,
    failed: &mut Option<Error>,
) -> impl Iterator<Item = Put> {
    puts.map_while(move |put| put.map_err(|error| *failed = Some(error)).ok())
}
