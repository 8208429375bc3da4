//! What a journal's directory holds of history: where its records begin, and which checkpoints can
//! stand for what was before.
//!
//! Reads headers only. A checkpoint that cannot be used is never passed over in silence: it is in
//! `damaged`, and where nothing takes its place the journal is corrupt.

use std::path::Path;

use crate::{
    checkpoint::{blocks::damaged, file::Checkpoint},
    directory::listing::Listing,
    error::{Error, Result},
    format::layout::SegmentHeader,
    model::ids::{Revision, Sequence},
    replay::last_segment::read_last,
    segment::open::Segment,
    storage::traits::Storage,
};

/// How often a listing is taken again because retention removed what was in it: each time there is
/// at least one checkpoint more or one segment less, which takes it several syncs.
const LISTINGS: usize = 64;

/// The checkpoints of a journal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Checkpoints {
    /// Those from which on the journal can be read, newest first.
    pub usable: Vec<Checkpoint>,
    /// What is wrong with each of the others.
    pub damaged: Vec<Error>,
}

/// What there is.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) checkpoints: Checkpoints,
    /// Checkpoints whose following records are gone too: of no use any more.
    pub(crate) stale: Vec<Checkpoint>,
    /// The header of the oldest segment.
    pub(crate) oldest: SegmentHeader,
}

impl History {
    /// Reads what is in the directory, and checks that what is missing is covered.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        unless_changing(storage, dir, || Self::read_once(storage, dir))
    }

    fn read_once(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let listing = Listing::read(storage, dir)?;
        let Some((first, path)) = listing.segments.first_key_value() else {
            return Err(listing.not_a_journal(dir));
        };
        let oldest = Segment::open(storage, path, *first)?.header;
        let history = Self::of(storage, &listing, &oldest)?;
        if !history.is_complete() && history.checkpoints.usable.is_empty() {
            return Err(history.not_covered(path));
        }
        Ok(history)
    }

    /// The checkpoints in a listing, beside a chain of segments that begins with this one.
    pub(crate) fn of(
        storage: &dyn Storage,
        listing: &Listing,
        oldest: &SegmentHeader,
    ) -> Result<Self> {
        let mut history = Self {
            checkpoints: Checkpoints::default(),
            stale: Vec::new(),
            oldest: oldest.clone(),
        };
        for path in listing.checkpoints.values() {
            let checkpoint = match Checkpoint::open_on(storage, path) {
                Ok(checkpoint) => checkpoint,
                Err(error @ Error::CheckpointDamaged { .. }) => {
                    history.checkpoints.damaged.push(error);
                    continue;
                }
                Err(other) => return Err(other),
            };
            if checkpoint.uuid() != oldest.uuid {
                return Err(Error::ForeignFile {
                    path: path.clone(),
                    detail: format!(
                        "it belongs to the journal {}, the segments to {}",
                        checkpoint.uuid(),
                        oldest.uuid
                    ),
                });
            }
            if checkpoint.sequence().next() < oldest.first {
                history.stale.push(checkpoint);
            } else if let Some(error) = is_of_another_past(storage, listing, &checkpoint)? {
                history.checkpoints.damaged.push(error);
            } else {
                history.checkpoints.usable.push(checkpoint);
            }
        }
        history
            .checkpoints
            .usable
            .sort_by_key(|c| std::cmp::Reverse(c.sequence()));
        Ok(history)
    }

    /// Whether the records begin with the first.
    pub(crate) fn is_complete(&self) -> bool {
        self.oldest.predecessor_last == Sequence::NONE
    }

    /// The error for segments that are missing and covered by nothing.
    pub(crate) fn not_covered(&self, oldest: &Path) -> Error {
        let mut detail = format!(
            "the segments before it, up to sequence {}, are missing, and no checkpoint covers them",
            self.oldest.predecessor_last
        );
        for error in &self.checkpoints.damaged {
            detail.push_str(&format!("; {error}"));
        }
        Error::Corrupt {
            path: oldest.to_owned(),
            offset: 0,
            sequence: self.oldest.first,
            revision: Revision::NONE,
            detail,
        }
    }
}

/// The newest checkpoint from which on the journal can be read. It is made of durable records only,
/// so it is a witness for them.
pub(crate) fn newest_witness(storage: &dyn Storage, dir: &Path) -> Result<Option<Checkpoint>> {
    unless_changing(storage, dir, || {
        let listing = Listing::read(storage, dir)?;
        let Some((first, path)) = listing.segments.first_key_value() else {
            return Err(listing.not_a_journal(dir));
        };
        let oldest = Segment::open(storage, path, *first)?.header;
        let history = History::of(storage, &listing, &oldest)?;
        Ok(history.checkpoints.usable.into_iter().next())
    })
}

/// The detail of the error for a journal that ends before what this checkpoint covers.
pub(crate) fn ends_before(witness: &Checkpoint) -> String {
    format!(
        "the journal ends here; {} proves that sequence {} had been acknowledged",
        witness.path().display(),
        witness.sequence()
    )
}

/// A sequence that was lost by a disk and used again lies in a segment with another salt.
pub(crate) fn is_of_another_past(
    storage: &dyn Storage,
    listing: &Listing,
    checkpoint: &Checkpoint,
) -> Result<Option<Error>> {
    let h = &checkpoint.header;
    let Some((first, path)) = listing.segments.range(..=h.sequence).next_back() else {
        return Ok(None);
    };
    let segment = match Segment::open(storage, path, *first) {
        Ok(segment) => segment,
        // Whoever reads that segment reports it.
        Err(Error::Corrupt { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let header = &segment.header;
    let is_the_same = header.first == h.segment_first && header.salt == h.segment_salt;
    if is_the_same {
        return Ok(None);
    }
    // If the sequence is not there at all, the checkpoint is the witness that it was.
    let is_last = listing.after(*first).is_none();
    if is_last && read_last(&segment)?.scan.last() < h.sequence {
        return Ok(None);
    }
    let detail = format!(
        "it covers sequence {} of another past than the one that {} holds",
        h.sequence,
        path.display()
    );
    let path = std::sync::Arc::new(checkpoint.path_buf());
    Ok(Some(damaged(&path, 0, h.revision, detail)))
}

/// What retention changes in a directory.
#[derive(PartialEq, Eq)]
struct DirectoryVersion {
    oldest: Option<Sequence>,
    checkpoints: Vec<Revision>,
}

impl DirectoryVersion {
    fn read(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let listing = Listing::read(storage, dir)?;
        Ok(Self {
            oldest: listing.segments.keys().next().copied(),
            checkpoints: listing.checkpoints.keys().copied().collect(),
        })
    }
}

/// Runs this again if it failed while retention was at work: a listing is no snapshot, and what is
/// in it may be gone when it is opened.
pub(crate) fn unless_changing<T>(
    storage: &dyn Storage,
    dir: &Path,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    for _ in 1..LISTINGS {
        let before = DirectoryVersion::read(storage, dir)?;
        match attempt() {
            Err(_) if DirectoryVersion::read(storage, dir)? != before => {}
            other => return other,
        }
    }
    attempt()
}

/// The error for a reader that is at this sequence of this segment, if retention has gone past it.
pub(crate) fn retired(
    storage: &dyn Storage,
    dir: &Path,
    segment: Sequence,
    sequence: Sequence,
) -> Option<Error> {
    let oldest = History::read(storage, dir).ok()?.oldest.first;
    (segment < oldest).then_some(Error::Retired { sequence, oldest })
}
