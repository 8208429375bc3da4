//! The part of a journal that is wanted: from and to a revision or a time, and below a path.

use std::str::FromStr;

use cairn_client::path::Prefix;
use cairn_journal::{EntryRef, RecordRef, Revision, Sequence, Timestamp};

/// A place in history, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A revision.
    Revision(Revision),
    /// A time, by the persister's clock.
    Time(Timestamp),
}

impl Point {
    /// The revision, if it is one.
    #[must_use]
    pub fn revision(self) -> Option<Revision> {
        match self {
            Self::Revision(revision) => Some(revision),
            Self::Time(_) => None,
        }
    }

    /// The time, if it is one.
    #[must_use]
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::Time(time) => Some(time),
            Self::Revision(_) => None,
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(revision) => Ok(Self::Revision(Revision(revision))),
            Err(_) => match text.parse() {
                Ok(time) => Ok(Self::Time(time)),
                Err(why) => Err(format!("neither a revision (a number) nor a time: {why}")),
            },
        }
    }
}

/// An end of the part that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A revision, as it is printed.
    Revision(Revision),
    /// A record: the place of a time.
    Sequence(Sequence),
}

/// The part of a journal that is wanted. Both ends are inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Nothing before this.
    pub from: Option<Bound>,
    /// Nothing after this.
    pub to: Option<Bound>,
    /// Only changes of these paths, and no markers.
    pub prefix: Option<Prefix>,
}

impl Filter {
    /// Whether everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The revision at which reading may begin.
    #[must_use]
    pub fn begin(&self) -> Option<Revision> {
        match self.from {
            Some(Bound::Revision(from)) => Some(from),
            _ => None,
        }
    }

    /// The wanted part of a record; `None`: nothing of it.
    ///
    /// A change counts by the revision that it is printed with, its own.
    #[must_use]
    pub fn apply<'a>(&self, mut record: RecordRef<'a>) -> Option<RecordRef<'a>> {
        if self.is_all() {
            return Some(record);
        }
        if !self.is_sequence_wanted(record.sequence) {
            return None;
        }
        if let EntryRef::Changes { changes, .. } = &mut record.entry {
            changes.retain(|change| {
                self.is_change_wanted(change.revision.unwrap_or(record.revision), change.path)
            });
            return (!changes.is_empty()).then_some(record);
        }
        let is_wanted = self.prefix.is_none() && self.is_revision_wanted(record.revision);
        is_wanted.then_some(record)
    }

    /// Whether the end of what is wanted lies behind a record.
    #[must_use]
    pub fn is_passed(&self, revision: Revision, sequence: Sequence) -> bool {
        match self.to {
            None => false,
            // A revision may have more than one record.
            Some(Bound::Revision(to)) => to < revision,
            Some(Bound::Sequence(to)) => to <= sequence,
        }
    }

    /// Whether a change of this path is wanted that is printed with this revision.
    #[must_use]
    pub fn is_change_wanted(&self, revision: Revision, path: &[u8]) -> bool {
        self.is_revision_wanted(revision) && self.is_path_wanted(path)
    }

    /// Whether a path is wanted.
    #[must_use]
    pub fn is_path_wanted(&self, path: &[u8]) -> bool {
        self.prefix
            .as_ref()
            .is_none_or(|prefix| prefix.contains(path))
    }

    fn is_revision_wanted(&self, revision: Revision) -> bool {
        let late_enough = match self.from {
            Some(Bound::Revision(from)) => from <= revision,
            _ => true,
        };
        let early_enough = match self.to {
            Some(Bound::Revision(to)) => revision <= to,
            _ => true,
        };
        late_enough && early_enough
    }

    fn is_sequence_wanted(&self, sequence: Sequence) -> bool {
        let late_enough = match self.from {
            Some(Bound::Sequence(from)) => from <= sequence,
            _ => true,
        };
        let early_enough = match self.to {
            Some(Bound::Sequence(to)) => sequence <= to,
            _ => true,
        };
        late_enough && early_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_revisions_or_times() {
        assert_eq!("59".parse(), Ok(Point::Revision(Revision(59))));
        let time = Timestamp(1_769_853_600_000);
        for text in ["2026-01-31T10:00:00Z", "2026-01-31 10:00:00"] {
            assert_eq!(text.parse(), Ok(Point::Time(time)), "{text}");
        }
        let now = Timestamp::now().0;
        let Ok(Point::Time(Timestamp(then))) = "10 minutes ago".parse() else {
            panic!("not a time");
        };
        assert!((now - then - 600_000).abs() < 60_000);
        for wrong in ["", "yesterday", "10 ago", "5x"] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
