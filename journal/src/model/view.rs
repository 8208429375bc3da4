//! Records as they lie in a reader's buffer: nothing is copied for them, and nothing allocated for
//! those of one change, which are nearly all.
//!
//! For whoever reads much and keeps little: `dumpjournal`, checks, counts. What is kept is taken as
//! a [`Record`].

use std::{borrow::Cow, ops::Deref, path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::model::{
    entry::{Change, Entry, KeyValue, Op, Record, known},
    ids::{Revision, Sequence},
    time::Timestamp,
};

/// One set or delete of one path: a [`Change`] that is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRef<'a> {
    /// The path, any bytes.
    pub path: &'a [u8],
    /// The value that it has now; `None`: it is gone.
    pub value: Option<&'a [u8]>,
    /// Only in the snapshot diff of a gap: the revision that this key really has. `None`: the
    /// record's own revision.
    pub revision: Option<Revision>,
    /// What the engine knows of the key besides its value: see [`Change::attributes`].
    pub attributes: &'a [u8],
    /// Whether it is a control write: see [`Change::is_control`].
    pub is_control: bool,
}

impl ChangeRef<'_> {
    /// As a change of its own; its bytes are parts of `whole`, in which they lie.
    #[inline]
    pub(crate) fn within(&self, whole: &Bytes) -> Change {
        self.owned(|bytes| whole.slice_ref(bytes))
    }

    /// As a change of its own, of copies.
    #[inline]
    pub(crate) fn copy(&self) -> Change {
        self.owned(Bytes::copy_from_slice)
    }

    #[inline(always)]
    fn owned(&self, owned: impl Fn(&[u8]) -> Bytes) -> Change {
        Change {
            path: owned(self.path),
            op: self.value.map_or(Op::Delete, |value| Op::Set(owned(value))),
            revision: self.revision,
            attributes: match self.attributes {
                [] => Bytes::new(),
                attributes => owned(attributes),
            },
            is_control: self.is_control,
        }
    }
}

impl<'a> From<&'a Change> for ChangeRef<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            path: &change.path,
            value: match &change.op {
                Op::Set(value) => Some(value),
                Op::Delete => None,
            },
            revision: change.revision,
            attributes: &change.attributes,
            is_control: change.is_control,
        }
    }
}

/// The change that sets it, with its revision.
impl<'a> From<&'a KeyValue> for ChangeRef<'a> {
    fn from(kv: &'a KeyValue) -> Self {
        Self {
            path: &kv.path,
            value: Some(&kv.value),
            revision: Some(kv.revision),
            attributes: &kv.attributes,
            is_control: kv.is_control,
        }
    }
}

/// The changes of one record, in the order in which they were applied.
#[derive(Clone, Debug)]
pub struct Changes<'a>(Few<ChangeRef<'a>>);

#[derive(Clone, Debug)]
enum Few<T> {
    One(T),
    Many(Vec<T>),
}

impl<'a> Changes<'a> {
    pub(crate) const NONE: Self = Self(Few::Many(Vec::new()));

    #[inline(always)]
    pub(crate) fn push(&mut self, change: ChangeRef<'a>) {
        match &mut self.0 {
            Few::Many(many) if many.is_empty() => self.0 = Few::One(change),
            Few::Many(many) => many.push(change),
            Few::One(one) => self.0 = Few::Many(vec![*one, change]),
        }
    }

    /// Leaves out those that `is_wanted` does not want.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&ChangeRef<'a>) -> bool) {
        match &mut self.0 {
            Few::One(one) => {
                if !is_wanted(one) {
                    *self = Self::NONE;
                }
            }
            Few::Many(many) => many.retain(is_wanted),
        }
    }
}

impl<'a> Deref for Changes<'a> {
    type Target = [ChangeRef<'a>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Few::One(one) => std::slice::from_ref(one),
            Few::Many(many) => many,
        }
    }
}

impl<'a> FromIterator<ChangeRef<'a>> for Changes<'a> {
    fn from_iter<I: IntoIterator<Item = ChangeRef<'a>>>(changes: I) -> Self {
        let mut all = Self::NONE;
        changes.into_iter().for_each(|change| all.push(change));
        all
    }
}

/// What one record says: an [`Entry`] of which the changes are not copied.
#[derive(Clone, Debug)]
pub enum EntryRef<'a> {
    /// All changes of one revision, or a part of a gap's snapshot diff.
    Changes {
        /// In the order in which they were applied.
        changes: Changes<'a>,
        /// When the persister saw them.
        observed_at: Timestamp,
    },
    /// Anything else: never [`Entry::Changes`].
    Marker(Cow<'a, Entry>),
}

impl EntryRef<'_> {
    /// The changes that it tells.
    pub fn changes(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        let changes: &[ChangeRef<'_>] = match self {
            Self::Changes { changes, .. } => changes,
            Self::Marker(_) => &[],
        };
        changes.iter().copied()
    }

    /// When what it says was observed: see [`Entry::observed_at`].
    #[must_use]
    pub fn observed_at(&self) -> Option<Timestamp> {
        match self {
            Self::Changes { observed_at, .. } => known(*observed_at),
            Self::Marker(entry) => entry.observed_at(),
        }
    }

    /// What it says, if it is not changes.
    #[must_use]
    pub fn marker(&self) -> Option<&Entry> {
        match self {
            Self::Changes { .. } => None,
            Self::Marker(entry) => Some(entry),
        }
    }
}

impl<'a> From<&'a Entry> for EntryRef<'a> {
    fn from(entry: &'a Entry) -> Self {
        match entry {
            Entry::Changes {
                changes,
                observed_at,
            } => Self::Changes {
                changes: changes.iter().map(ChangeRef::from).collect(),
                observed_at: *observed_at,
            },
            marker => Self::Marker(Cow::Borrowed(marker)),
        }
    }
}

/// One record as it lies in a reader's buffer, with every checksum verified: a [`Record`] that is
/// not copied.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// The newest sequence known to be durable when this record was written.
    pub synced: Sequence,
    /// The newest revision that is covered once this record is durable. For changes: theirs.
    pub revision: Revision,
    /// What it says.
    pub entry: EntryRef<'a>,
    /// The segment that it lies in.
    pub file: &'a Arc<PathBuf>,
    /// Offset of its header in the file, in bytes.
    pub offset: u64,
    /// Length on disk, in bytes: header, payload and padding.
    pub length: u64,
}

impl<'a> From<&'a Record> for RecordRef<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            sequence: record.sequence,
            synced: record.synced,
            revision: record.revision,
            entry: (&record.entry).into(),
            file: &record.location.file,
            offset: record.location.offset,
            length: record.location.length,
        }
    }
}
