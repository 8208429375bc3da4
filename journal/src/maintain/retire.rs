//! Removes what retention allows: the checkpoint that history then begins with is read in full
//! first, then segments go one by one, oldest first, then older checkpoints, then superfluous ones.
//!
//! Each removal is synced before the next, so a crash leaves a chain of segments without a hole.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::{
        ages::{Ages, Closed},
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
    model::{
        ids::{Revision, Sequence},
        span::Span,
        time::Timestamp,
    },
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
    /// The history in the segments removed. `None`: there is none.
    pub history: Option<RetiredHistory>,
    /// The segments removed.
    pub segments: Vec<PathBuf>,
    /// The checkpoints removed.
    pub checkpoints: Vec<PathBuf>,
    /// Bytes that they took.
    pub bytes: u64,
    /// Checkpoints that were found damaged: nothing was removed on their word.
    pub damaged: Vec<Error>,
}

/// History that a checkpoint alone tells of from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetiredHistory {
    /// Its revisions, if it has any.
    pub revisions: Option<Span>,
    /// When its first segment was begun, by the clock of that time.
    pub from: Timestamp,
    /// When the segment after its last one was.
    pub until: Timestamp,
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
        let ages = &mut *self.ages();
        run(self.reader()?.directory(), ages, retention, stop)
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
        run(self, &mut Ages::default(), retention, &Stop::new())
    }
}

fn run(
    directory: &Directory,
    ages: &mut Ages,
    retention: &Retention,
    stop: &Stop,
) -> Result<RetentionReport> {
    stop.check()?;
    let (storage, dir) = (directory.storage(), directory.path());
    let _lock = exclusive(storage, dir)?;
    let history = History::read(storage, dir)?;
    let mut report = RetentionReport {
        damaged: history.checkpoints.damaged.clone(),
        ..RetentionReport::default()
    };
    let found = segments(storage, dir)?;
    let segments = spans(&found, ages, retention, storage);
    let mut usable = history.checkpoints.usable.clone();
    let retired = loop {
        let spans: Vec<_> = usable
            .iter()
            .map(|c| CheckpointSpan {
                revision: c.revision(),
                sequence: c.sequence(),
            })
            .collect();
        let retired = decide(&segments, &spans, retention);
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
    report.history = history_of(&found, &retired.segments);
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

/// A segment as it was found.
struct Found {
    first: Sequence,
    bytes: u64,
    /// The revision covered before its first record.
    covered: Revision,
    begun: Timestamp,
}

/// All segments, oldest first. A chain with a hole is an error.
fn segments(storage: &dyn Storage, dir: &Path) -> Result<Vec<Found>> {
    let listing = Listing::read(storage, dir)?;
    let mut found = Vec::with_capacity(listing.segments.len());
    let mut before: Option<Segment> = None;
    for (first, path) in &listing.segments {
        let segment = match Segment::open(storage, path, *first) {
            // An empty last segment may be about to be replaced; nobody removes any but us.
            Err(error) if error.is_gone() => break,
            other => other?,
        };
        if let Some(before) = &before {
            chain::link(&before.header, &segment.header, path)?;
        }
        found.push(Found {
            first: *first,
            bytes: segment.file.len()?,
            covered: segment.header.covered,
            begun: segment.header.created_at,
        });
        before = Some(segment);
    }
    Ok(found)
}

fn spans(
    found: &[Found],
    ages: &mut Ages,
    retention: &Retention,
    storage: &dyn Storage,
) -> Vec<SegmentSpan> {
    let closed = found.windows(2).map(|pair| Closed {
        first: pair[0].first,
        until: pair[1].begun,
    });
    let closed: Vec<_> = closed.collect();
    let ages = ages.look(&closed, retention, storage.now(), storage.steady());
    let ages = ages.into_iter().map(Some).chain([None]);
    let span = |(segment, age): (&Found, _)| SegmentSpan {
        first: segment.first,
        bytes: segment.bytes,
        age,
    };
    found.iter().zip(ages).map(span).collect()
}

/// What lies in the segments that go.
fn history_of(found: &[Found], going: &[Sequence]) -> Option<RetiredHistory> {
    let (first, last) = (going.first()?, going.last()?);
    let oldest = found.iter().find(|segment| segment.first == *first)?;
    let behind = found.iter().find(|segment| segment.first > *last)?;
    Some(RetiredHistory {
        revisions: Span::new(oldest.covered.next(), behind.covered),
        from: oldest.begun,
        until: behind.begun,
    })
}
