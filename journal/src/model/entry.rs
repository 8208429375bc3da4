//! What a record says: the entries a caller appends and a reader gets back.
//!
//! The journal stores these and understands only as much of them as recovery and
//! [`Reader::state`](crate::Reader::state) need: which revision is covered, whether a gap is open,
//! which timeline it belongs to.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::model::{
    ids::{Revision, Sequence},
    span::Span,
    time::Timestamp,
};

/// One set or delete of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, any bytes.
    pub path: Bytes,
    /// What happened to it.
    pub op: Op,
    /// Only in the snapshot diff of a gap: the revision that this key really has. `None`: the
    /// record's own revision.
    pub revision: Option<Revision>,
}

impl Change {
    /// A path was given a value.
    pub fn set(path: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            op: Op::Set(value.into()),
            revision: None,
        }
    }

    /// A path was deleted.
    pub fn delete(path: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            op: Op::Delete,
            revision: None,
        }
    }

    /// Gives the change the revision that the key really has.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// It has this value now.
    Set(Bytes),
    /// It is gone.
    Delete,
}

/// Where in a gap a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapPhase {
    /// The gap begins: what follows, up to `Closed`, is the snapshot diff to the state after it.
    Opened,
    /// The snapshot diff is complete.
    Closed,
}

/// Why revisions could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// The cluster had discarded the history that was needed.
    HistoryDiscarded,
    /// First start on a cluster that already had state.
    Baseline,
    /// The journal itself was damaged, and repaired without these revisions.
    Damage,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HistoryDiscarded => "history discarded",
            Self::Baseline => "baseline",
            Self::Damage => "journal damaged",
        })
    }
}

/// A range of revisions that were not seen one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// The first revision not seen.
    pub first: Revision,
    /// The last revision not seen.
    pub last: Revision,
    /// Why.
    pub reason: GapReason,
}

/// One life of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The identity of the cluster, as it calls itself.
    pub id: String,
    /// The identity of the cluster that it was restored from.
    pub parent: Option<String>,
    /// The parent's revision that was restored; without a parent, the revision at which it was
    /// first seen.
    pub at: Revision,
    /// Whether the restore kept the parent's revisions: if so this is the same history.
    pub kept: bool,
    /// When the persister learnt of it.
    pub observed_at: Timestamp,
}

/// A point in a sealed segment from which reading can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPoint {
    /// The record's sequence.
    pub sequence: Sequence,
    /// The newest revision covered before the record.
    pub covered: Revision,
    /// The record's offset in the file, in bytes.
    pub offset: u64,
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// All changes of one revision, or a part of a gap's snapshot diff.
    Changes {
        /// In the order in which they were applied.
        changes: Vec<Change>,
        /// When the persister saw them.
        observed_at: Timestamp,
    },
    /// Revisions that could not be seen one by one.
    Gap {
        /// The first of them.
        first: Revision,
        /// The last of them.
        last: Revision,
        /// Beginning or end of the snapshot diff.
        phase: GapPhase,
        /// Why.
        reason: GapReason,
        /// When.
        observed_at: Timestamp,
    },
    /// The cluster that is followed from here on.
    Timeline(Timeline),
    /// Nothing happened; the record's revision is the newest one seen and covered, and its synced
    /// sequence says what is durable.
    Watermark {
        /// When.
        observed_at: Timestamp,
        /// Whether this is the last record of a journal that was closed in good order.
        closed: bool,
    },
    /// The last record of a full segment.
    Seal {
        /// How many records the segment has before this one.
        records: u64,
        /// The digest of those records.
        digest: u32,
        /// Where reading can start.
        index: Vec<IndexPoint>,
    },
    /// Written by [`crate::repair`] in the place of records that were damaged beyond use. What
    /// follows are ordinary records again.
    Lost {
        /// The first sequence that is lost; the last is this record's own.
        first_sequence: Sequence,
        /// The first revision that may be lost with them. `first > last`: none is, only markers.
        first: Revision,
        /// The last revision that may be lost with them.
        last: Revision,
        /// Those from `first` to `last` of which all is known nevertheless, in order. Usually none:
        /// only where more is known than there were records lost does it have to be told here.
        known: Vec<Span>,
        /// What happened in those, in order; each change carries its own revision.
        changes: Vec<Change>,
        /// When the journal was repaired.
        observed_at: Timestamp,
    },
}

impl Entry {
    /// What it says, if it is not [`Entry::Changes`].
    #[must_use]
    pub fn marker(&self) -> Option<&Self> {
        match self {
            Self::Changes { .. } => None,
            marker => Some(marker),
        }
    }

    /// The changes that it tells, if it tells any.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Changes { changes, .. } | Self::Lost { changes, .. } => changes,
            _ => &[],
        }
    }
}

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub file: Arc<PathBuf>,
    /// Offset of the record's header in the file, in bytes.
    pub offset: u64,
    /// Length on disk, in bytes: header, payload and padding.
    pub length: u64,
}

/// One record as it was read, with every checksum verified.
///
/// Its paths and values are parts of one buffer, a copy of all that the record says: whoever keeps
/// a few of many for long should keep copies (`Bytes::copy_from_slice`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// The newest sequence known to be durable when this record was written.
    pub synced: Sequence,
    /// The newest revision that is covered once this record is durable. For changes: theirs.
    pub revision: Revision,
    /// What it says.
    pub entry: Entry,
    /// Where it lies.
    pub location: Location,
}

/// A record that is to be appended; its sequence is given by the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub(crate) revision: Revision,
    pub(crate) entry: Entry,
}

impl NewRecord {
    /// All changes of one revision (or a part of a gap's snapshot diff, then `revision` is the
    /// gap's last).
    #[must_use]
    pub fn changes(revision: Revision, changes: Vec<Change>, observed_at: Timestamp) -> Self {
        Self {
            revision,
            entry: Entry::Changes {
                changes,
                observed_at,
            },
        }
    }

    /// Revisions `first..=last` cannot be seen: what follows, up to [`NewRecord::gap_closed`], is
    /// the snapshot diff. Until then the journal covers nothing beyond `first - 1`.
    #[must_use]
    pub fn gap_opened(
        first: Revision,
        last: Revision,
        reason: GapReason,
        observed_at: Timestamp,
    ) -> Self {
        Self {
            revision: first.previous(),
            entry: Entry::Gap {
                first,
                last,
                phase: GapPhase::Opened,
                reason,
                observed_at,
            },
        }
    }

    /// The snapshot diff is complete: the journal covers `last`.
    #[must_use]
    pub fn gap_closed(
        first: Revision,
        last: Revision,
        reason: GapReason,
        observed_at: Timestamp,
    ) -> Self {
        Self {
            revision: last,
            entry: Entry::Gap {
                first,
                last,
                phase: GapPhase::Closed,
                reason,
                observed_at,
            },
        }
    }

    /// From here on another cluster is followed, or the first. `revision`: the newest revision
    /// that the journal covers in terms of the new timeline.
    #[must_use]
    pub fn timeline(revision: Revision, timeline: Timeline) -> Self {
        Self {
            revision,
            entry: Entry::Timeline(timeline),
        }
    }

    /// Everything up to `revision` was seen, and nothing of it had to be journaled.
    #[must_use]
    pub fn watermark(revision: Revision, observed_at: Timestamp) -> Self {
        Self {
            revision,
            entry: Entry::Watermark {
                observed_at,
                closed: false,
            },
        }
    }

    /// The revision given.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What the record will say.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}
