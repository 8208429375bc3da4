//! How far a watermark reaches: over the persisters' own writes that follow it.
//!
//! A watermark is the revision of a change, and persisters publish none for what they write
//! themselves. The revision in an answer may be one of those, such as that of a watermark, with
//! nothing behind it: to wait until a watermark says so much would be to wait for the next change.

use std::collections::BTreeMap;

/// The most runs that are remembered; with one forgotten, a wait takes until the next watermark.
const MOST: usize = 1_024;

/// The revisions at which persisters wrote, as runs without a hole: the first of each, and the
/// last.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites(BTreeMap<i64, i64>);

impl OwnWrites {
    /// Persisters wrote at this revision, and nobody else.
    pub(crate) fn note(&mut self, revision: i64) {
        let (mut first, mut last) = (revision, revision);
        if let Some((before, end)) = self.0.range(..=revision).next_back() {
            if *end >= revision {
                return;
            }
            if *end == revision - 1 {
                first = *before;
            }
        }
        if let Some(end) = self.0.remove(&(revision + 1)) {
            last = end;
        }
        self.0.insert(first, last);
        if self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// The newest revision up to which everything is on disk that had to be, if all up to
    /// `watermark` is.
    pub(crate) fn reach(&self, watermark: i64) -> i64 {
        let next = watermark.saturating_add(1);
        let run = self.0.range(..=next).next_back();
        run.map_or(watermark, |(_, last)| watermark.max(*last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_reaches_over_own_writes_and_over_nothing_else() {
        let mut own = OwnWrites::default();
        for revision in [20, 5, 6, 11, 9, 10, 10, 6] {
            own.note(revision);
        }
        for (watermark, reach) in [
            (3, 3),
            (4, 6),
            (5, 6),
            (6, 6),
            (7, 7),
            (8, 11),
            (11, 11),
            (12, 12),
            (19, 20),
            (25, 25),
        ] {
            assert_eq!(own.reach(watermark), reach, "{watermark}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut own = OwnWrites::default();
        for at in 0..5_000 {
            own.note(at * 2);
        }
        assert_eq!(own.0.len(), MOST);
        assert_eq!(own.reach(9_997), 9_998);
        assert_eq!(own.reach(1), 1);
    }
}
