//! Where in history a record stands: what every record's header says of what was before it.
//!
//! Promise: a record that is whole can be understood without any other. However much around it is
//! lost, its header says which revisions it speaks of, in which timeline, and whether as an event
//! or as a part of a gap's snapshot diff. Repair, and journals that help each other, rest on
//! nothing else.

use crate::model::ids::Revision;

/// A timeline's name in two bytes, the same in every journal. Two timelines may share one: whoever
/// looks names up by tags takes a tag that fits several for one that fits none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TimelineTag(pub(crate) u16);

impl TimelineTag {
    /// There was no timeline.
    pub(crate) const NONE: Self = Self(0);

    /// The tag of a timeline: the lower half of its name's checksum, and never 0.
    pub(crate) fn of(id: Option<&str>) -> Self {
        let Some(id) = id else {
            return Self::NONE;
        };
        let crc = crc32fast::hash(id.as_bytes()).to_le_bytes();
        Self(u16::from_le_bytes([crc[0], crc[1]]).max(1))
    }
}

/// What a record's header says of its place in history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordPosition {
    /// The newest revision covered before the record: from there to its own revision nothing
    /// happened but what it tells.
    pub(crate) prev_revision: Revision,
    /// The timeline that its revision counts in; for the record of a timeline, that one.
    pub(crate) timeline: TimelineTag,
    /// Whether it lies within a gap's snapshot diff: behind the opening, up to the end.
    pub(crate) within: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_timeline_has_the_tag_of_none() {
        for n in 0..200_000 {
            let id = n.to_string();
            assert_ne!(TimelineTag::of(Some(&id)), TimelineTag::NONE, "{id}");
        }
        assert_eq!(TimelineTag::of(None), TimelineTag::NONE);
    }
}
