//! The journal that a file becomes.

use std::path::Path;

use cairn_etcd_snapshot::{Change, ReadOptions, Snapshot, Window, history, journal_records};
use cairn_journal::{Journal, NewRecord, Options, Reader, Revision, Stop, Timestamp};
use cairn_protocol::keys;

use crate::cluster::control::ControlKey;
use crate::cluster::etcd::names::{RULES, control};
use crate::error::Error;
use crate::file_error::{FileError, failed_to, make_dir, parent, sync_parent};
use crate::identity::lineage::Identity;
use crate::import::report::ImportReport;
use crate::restore::digest::Digest;

/// How many bytes of changes are appended before they are committed.
const COMMIT_RECORDS: u64 = 1_024;

/// What a file says of the cluster that it is of.
pub(super) struct Look {
    pub(super) snapshot: Snapshot,
    pub(super) window: Window,
    pub(super) identity: Option<Identity>,
    digest: Digest,
}

impl Look {
    /// Opens a file, which reads it once for its sha256, and goes through its newest state.
    pub(super) fn at(file: &Path, stop: &Stop) -> Result<Self, Error> {
        let snapshot = Snapshot::open(file, ReadOptions::default()).map_err(FileError::Source)?;
        let window = snapshot.window();
        let (mut digest, mut identity) = (Digest::default(), None);
        for record in newest(&snapshot)? {
            stop.check()?;
            let Change::Put(put) = record.map_err(FileError::Source)?.change else {
                continue;
            };
            if !RULES.is_control(&put.key) {
                digest.add(&put.key, &put.value);
            } else if put.key == control(&ControlKey::Identity) {
                identity = Some(Identity::parse(&put.value)?);
            }
        }
        if identity.as_ref().is_some_and(Identity::is_unfinished) {
            return Err(FileError::Unfinished(file.to_owned()).into());
        }
        Ok(Self {
            snapshot,
            window,
            identity,
            digest,
        })
    }
}

/// The keys of a file at its newest revision.
pub(super) fn newest(snapshot: &Snapshot) -> Result<cairn_etcd_snapshot::History, FileError> {
    let revision = snapshot.revision();
    let window = Window {
        compacted: revision,
        revision,
    };
    history(snapshot, window).map_err(FileError::Source)
}

/// Makes the journal in `dir`, bound to `identity` if there is one. On return all of it is on disk
/// and under its name.
pub(super) fn write(
    look: &Look,
    identity: Option<&Identity>,
    dir: &Path,
    options: &Options,
    stop: &Stop,
) -> Result<ImportReport, Error> {
    require_new(dir)?;
    let parent = parent(dir);
    make_dir(&parent)?;
    let made = tempfile::Builder::new()
        .prefix(".cairn-import-")
        .tempdir_in(&parent)
        .map_err(failed_to("create a directory in", &parent))?;
    let begun = made.path().join("journal");
    let (records, leases) = fill(look, identity, &begun, options, stop)?;
    let found = digest(&begun, made.path(), stop)?;
    if found != look.digest {
        return Err(FileError::Differs {
            expected: found.describe(),
            found: look.digest.describe(),
        }
        .into());
    }
    put_in_place(&begun, dir)?;
    Ok(ImportReport {
        outcome: "imported",
        journal: dir.display().to_string(),
        history_from: look.window.compacted,
        newest: look.window.revision,
        keys: look.digest.keys,
        value_bytes: look.digest.bytes,
        hash: look.digest.to_string(),
        leases,
        records,
        identity: identity.map(ToString::to_string),
        ..ImportReport::default()
    })
}

fn fill(
    look: &Look,
    identity: Option<&Identity>,
    dir: &Path,
    options: &Options,
    stop: &Stop,
) -> Result<(u64, u64), Error> {
    let now = Timestamp::now();
    let (journal, _) = Journal::open(dir, options.clone())?;
    if let Some(identity) = identity {
        journal.append(NewRecord::timeline(Revision::NONE, identity.timeline(now)))?;
    }
    let (mut count, mut leases) = (0, 0);
    let records = journal_records(&look.snapshot, keys::FLAT_ROOT.as_bytes(), now);
    for record in records.map_err(FileError::Source)? {
        stop.check()?;
        let record = record.map_err(FileError::Source)?;
        leases += u64::from(matches!(record.entry(), cairn_journal::Entry::Lease { .. }));
        let appended = journal.append(record)?;
        count += 1;
        if count % COMMIT_RECORDS == 0 {
            journal.commit(appended)?;
        }
    }
    // A member that stands there, and whose newest revisions were deletes that are compacted.
    let end = journal.end();
    if end.revision.0 < look.window.revision {
        journal.append(NewRecord::watermark(Revision(look.window.revision), now))?;
    }
    let last = journal.end().next_sequence.previous();
    journal.commit(last)?;
    journal.close()?;
    Ok((count, leases))
}

/// The newest state of the journal, read back.
fn digest(journal: &Path, scratch: &Path, stop: &Stop) -> Result<Digest, Error> {
    let reader = Reader::open(journal)?;
    let mut last = cairn_journal::Sequence::NONE;
    for record in reader.records() {
        stop.check()?;
        last = record?.sequence;
    }
    let mut digest = Digest::default();
    for entry in reader.sorted_state(last, scratch, stop)?.entries {
        let entry = entry?;
        digest.add(&entry.path, &entry.value);
    }
    Ok(digest)
}

/// # Errors
/// [`FileError::Exists`] if there is anything in it.
pub(super) fn require_new(dir: &Path) -> Result<(), FileError> {
    match is_new(dir)? {
        true => Ok(()),
        false => Err(FileError::Exists(dir.to_owned())),
    }
}

/// Whether a directory is absent, or has nothing in it.
pub(super) fn is_new(dir: &Path) -> Result<bool, FileError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(failed_to("list", dir)(error)),
    }
}

/// Gives a finished journal its name: an empty directory makes way for it, nothing else does.
fn put_in_place(made: &Path, dir: &Path) -> Result<(), FileError> {
    std::fs::rename(made, dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::DirectoryNotEmpty => FileError::Exists(dir.to_owned()),
        _ => failed_to("rename the finished journal to", dir)(error),
    })?;
    sync_parent(dir)
}
