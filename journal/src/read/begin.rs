//! Where reading begins: at a sequence, or at the first record that covers a revision.

use crate::model::{
    entry::{Entry, IndexPoint},
    ids::{Revision, Sequence},
    view::RecordRef,
};

/// Where reading is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    Sequence(Sequence),
    Revision(Revision),
}

impl Begin {
    /// Whether this record still comes before what was asked for.
    pub(super) fn skips(self, record: &RecordRef<'_>) -> bool {
        match self {
            Self::Sequence(from) => record.sequence < from,
            Self::Revision(from) => {
                let covers = match record.entry.marker() {
                    Some(Entry::Gap { last, .. } | Entry::Lost { last, .. }) => {
                        record.revision.max(*last)
                    }
                    _ => record.revision,
                };
                covers < from
            }
        }
    }

    pub(super) fn is_after(self, point: &IndexPoint) -> bool {
        match self {
            Self::Sequence(from) => point.sequence <= from,
            Self::Revision(from) => point.covered < from,
        }
    }
}
