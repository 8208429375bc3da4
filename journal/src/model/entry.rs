//! What a record says: the entries a caller appends and a reader gets back.
//!
//! The journal stores these and understands only as much of them as recovery and
//! [`Reader::state`](crate::Reader::state) need: which revision is covered, whether a gap is open,
//! which timeline it belongs to.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::model::{
    ids::{Revision, Sequence},
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
    /// What the engine knows of the key besides its value; at most 65,535 bytes, empty if there is
    /// nothing. The journal stores them and never interprets them.
    pub attributes: Bytes,
    /// Whether it is a control write, one of the persister's own. Readers leave it out unless they
    /// are asked for it ([`Reader::with_control`](crate::Reader::with_control)).
    pub is_control: bool,
}

impl Change {
    /// A path was given a value.
    pub fn set(path: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            op: Op::Set(value.into()),
            revision: None,
            attributes: Bytes::new(),
            is_control: false,
        }
    }

    /// A path was deleted.
    pub fn delete(path: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            op: Op::Delete,
            revision: None,
            attributes: Bytes::new(),
            is_control: false,
        }
    }

    /// Gives the change the revision that the key really has.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Gives the change attributes.
    #[must_use]
    pub fn with_attributes(mut self, attributes: impl Into<Bytes>) -> Self {
        self.attributes = attributes.into();
        self
    }

    /// Makes it a control write.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.is_control = true;
        self
    }
}

/// A path that exists, and everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The path, any bytes.
    pub path: Bytes,
    /// The revision at which it was set.
    pub revision: Revision,
    /// Its value.
    pub value: Bytes,
    /// Its attributes: see [`Change::attributes`].
    pub attributes: Bytes,
    /// Whether the write that set it was a control write.
    pub is_control: bool,
}

impl KeyValue {
    /// A path without attributes that no control write has set.
    pub fn new(path: impl Into<Bytes>, revision: Revision, value: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            revision,
            value: value.into(),
            attributes: Bytes::new(),
            is_control: false,
        }
    }

    /// Gives it attributes.
    #[must_use]
    pub fn with_attributes(mut self, attributes: impl Into<Bytes>) -> Self {
        self.attributes = attributes.into();
        self
    }

    /// Makes it one that a control write has set.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.is_control = true;
        self
    }
}

/// The change that sets it, with its revision.
impl From<KeyValue> for Change {
    fn from(kv: KeyValue) -> Self {
        Self {
            path: kv.path,
            op: Op::Set(kv.value),
            revision: Some(kv.revision),
            attributes: kv.attributes,
            is_control: kv.is_control,
        }
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
    /// What was learnt of a lease: a key that has it goes when the lease does. Costs no revision.
    Lease {
        /// Its id.
        id: i64,
        /// The time to live that it was granted, in seconds; `None`: it is gone.
        granted_ttl: Option<i64>,
        /// When.
        observed_at: Timestamp,
    },
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
    /// Written by [`crate::repair`] where revisions are lost. What follows are ordinary records
    /// again.
    Lost {
        /// The first revision that may be lost. `first > last`: none is, only markers.
        first: Revision,
        /// The last revision that may be lost.
        last: Revision,
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

    /// When what it says was observed; `None`: a seal, which says nothing of the cluster, or 0,
    /// which is written where nobody knows.
    #[must_use]
    pub fn observed_at(&self) -> Option<Timestamp> {
        let at = match self {
            Self::Changes { observed_at, .. }
            | Self::Gap { observed_at, .. }
            | Self::Lease { observed_at, .. }
            | Self::Watermark { observed_at, .. }
            | Self::Lost { observed_at, .. } => *observed_at,
            Self::Timeline(timeline) => timeline.observed_at,
            Self::Seal { .. } => return None,
        };
        known(at)
    }

    /// The changes that it tells, if it tells any.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Changes { changes, .. } => changes,
            _ => &[],
        }
    }
}

/// A time, unless nobody knows it.
pub(crate) fn known(at: Timestamp) -> Option<Timestamp> {
    (at != Timestamp::default()).then_some(at)
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

    /// A lease was granted with this time to live (in seconds), or is gone (`None`). `revision`:
    /// the newest one that was seen by then, as for [`NewRecord::watermark`]; within a gap's
    /// snapshot diff, the gap's last.
    #[must_use]
    pub fn lease(
        revision: Revision,
        id: i64,
        granted_ttl: Option<i64>,
        observed_at: Timestamp,
    ) -> Self {
        Self {
            revision,
            entry: Entry::Lease {
                id,
                granted_ttl,
                observed_at,
            },
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
