//! Removes what retention allows: the checkpoint that history then begins with is read in full
//! first, then segments go one by one, oldest first, then older checkpoints, then superfluous ones.
//!
//! Each removal is synced before the next, so a crash leaves a chain of segments without a hole.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::{
        file::Checkpoint,
        history::History,
        retention::{CheckpointSpan, Retention, Retired, SegmentSpan, decide},
    },
    directory::{
        handle::Directory,
        listing::Listing,
        lock::{exclusive, take_lock},
    },
    error::{Error, Result},
    format::names::{checkpoint_name, segment_name},
    model::ids::Revision,
    segment::{chain, create, open::Segment},
    stop::Stop,
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
    write::journal::Journal,
};

/// What was removed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RetentionReport {
    /// The verified checkpoint that covers what was removed. `None`: nothing was.
    pub base: Option<Revision>,
    /// The segments removed.
    pub segments: Vec<PathBuf>,
    /// The checkpoints removed.
    pub checkpoints: Vec<PathBuf>,
    /// Bytes that they took.
    pub bytes: u64,
    /// Checkpoints that were found damaged: nothing was removed on their word.
    pub damaged: Vec<Error>,
}

impl Journal {
    /// Removes what is outside the window and covered by a checkpoint. May be called from any
    /// thread while others append and read; a reader that is overtaken is told so
    /// ([`crate::Error::Retired`]).
    ///
    /// # Errors
    /// [`crate::Error::Locked`] if a checkpoint or retention is under way already; the disk's. A
    /// damaged checkpoint is none: it is in the report, and nothing goes on its word.
    pub fn retire(&self, retention: &Retention) -> Result<RetentionReport> {
        self.retire_unless(retention, &Stop::new())
    }

    /// [`Journal::retire`], which ends with [`crate::Error::Stopped`] soon after `stop` has been
    /// asked. What was removed by then is gone; the rest stays for the next time.
    ///
    /// # Errors
    /// As [`Journal::retire`].
    pub fn retire_unless(&self, retention: &Retention, stop: &Stop) -> Result<RetentionReport> {
        run(self.reader()?.directory(), retention, stop)
    }
}

impl Directory {
    /// Removes what is outside the window and covered by a checkpoint from the journal, which
    /// nobody has open for writing.
    ///
    /// # Errors
    /// As [`Journal::retire`]; [`crate::Error::Locked`] also while a process has the journal open.
    pub fn retire(&self, retention: &Retention) -> Result<RetentionReport> {
        let (storage, dir) = (self.storage(), self.path());
        let listing = Listing::read(storage, dir)?;
        if listing.segments.is_empty() {
            return Err(listing.not_a_journal(dir));
        }
        let _lock = take_lock(storage, dir)?;
        run(self, retention, &Stop::new())
    }
}

fn run(directory: &Directory, retention: &Retention, stop: &Stop) -> Result<RetentionReport> {
    stop.check()?;
    let (storage, dir) = (directory.storage(), directory.path());
    let _lock = exclusive(storage, dir)?;
    let history = History::read(storage, dir)?;
    let mut report = RetentionReport {
        damaged: history.checkpoints.damaged.clone(),
        ..RetentionReport::default()
    };
    let segments = segment_spans(storage, dir)?;
    let mut usable = history.checkpoints.usable.clone();
    let now = storage.now();
    let retired = loop {
        let spans: Vec<_> = usable
            .iter()
            .map(|c| CheckpointSpan {
                revision: c.revision(),
                sequence: c.sequence(),
            })
            .collect();
        let retired = decide(&segments, &spans, retention, now);
        if retired.is_empty() {
            break Retired::default();
        }
        // What stays begins with it, or it is what all that go might have been needed for.
        let at = match retired.base {
            Some(base) => usable.iter().position(|c| c.revision() == base),
            None => usable.len().checked_sub(1),
        };
        let at = at.expect("it was decided from these");
        match usable[at].verify_unless(stop) {
            Ok(()) => break retired,
            Err(error @ Error::CheckpointDamaged { .. }) => {
                tracing::warn!(%error, "nothing is removed on the word of a damaged checkpoint");
                report.damaged.push(error);
                usable.remove(at);
            }
            Err(other) => return Err(other),
        }
    };
    report.base = retired.base;
    if !retired.is_empty() {
        // The checkpoint may have been named by a process that was killed before its sync.
        create::sync_dir(storage, dir)?;
    }
    for first in retired.segments {
        stop.check()?;
        let path = dir.join(segment_name(first));
        report.bytes += remove(storage, dir, &path)?;
        report.segments.push(path);
    }
    let gone = retired.checkpoints.into_iter().chain(retired.thinned);
    let older = gone.map(checkpoint_name);
    let mut checkpoints: Vec<_> = older.map(|name| dir.join(name)).collect();
    // What an interrupted run has left.
    checkpoints.extend(history.stale.iter().map(Checkpoint::path_buf));
    for path in checkpoints {
        stop.check()?;
        report.bytes += remove(storage, dir, &path)?;
        report.checkpoints.push(path);
    }
    Ok(report)
}

fn remove(storage: &dyn Storage, dir: &Path, path: &Path) -> Result<u64> {
    let bytes = FileHandle::open(storage, path, Access::Read)?.len()?;
    storage
        .remove(path)
        .map_err(|e| Error::io(path, "remove", e))?;
    create::sync_dir(storage, dir)?;
    Ok(bytes)
}

/// All segments, oldest first. A chain with a hole is an error.
fn segment_spans(storage: &dyn Storage, dir: &Path) -> Result<Vec<SegmentSpan>> {
    let listing = Listing::read(storage, dir)?;
    let mut spans: Vec<SegmentSpan> = Vec::with_capacity(listing.segments.len());
    let mut before: Option<Segment> = None;
    for (first, path) in &listing.segments {
        let segment = match Segment::open(storage, path, *first) {
            // An empty last segment may be about to be replaced; nobody removes any but us.
            Err(error) if error.is_gone() => break,
            other => other?,
        };
        if let (Some(before), Some(span)) = (&before, spans.last_mut()) {
            chain::link(&before.header, &segment.header, path)?;
            span.until = Some(segment.header.created_at);
        }
        spans.push(SegmentSpan {
            first: *first,
            bytes: segment.file.len()?,
            until: None,
        });
        before = Some(segment);
    }
    Ok(spans)
}
