//! The paths that rank highest by a number, in memory that does not grow with how many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use bytes::Bytes;

use crate::forms::text::escaped_path;

/// Keeps the paths of the highest weights. Of equal weights the path that sorts first wins, so that
/// a journal always gives one answer.
#[derive(Debug)]
pub(crate) struct Ranking<T> {
    most: usize,
    /// The lowest on top.
    kept: BinaryHeap<Reverse<Weighed<T>>>,
}

/// By its weight, then by its path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Weighed<T>(u64, Reverse<Bytes>, T);

/// A path that ranks high.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ranked<T> {
    /// Escaped as in the text form.
    pub(crate) path: String,
    pub(crate) weight: u64,
    /// The note that was offered with it.
    pub(crate) note: T,
}

impl<T: Ord> Ranking<T> {
    /// Of `most` paths at the most.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            kept: BinaryHeap::new(),
        }
    }

    /// Takes in one path with its weight, and a note to be returned with it.
    pub(crate) fn offer(&mut self, path: &[u8], weight: u64, note: T) {
        if self.kept.len() >= self.most {
            match self.kept.peek() {
                Some(Reverse(Weighed(least, Reverse(last), _)))
                    if (weight, Reverse(path)) > (*least, Reverse(&last[..])) => {}
                _ => return,
            }
            self.kept.pop();
        }
        // A copy: a part of a larger buffer would keep all of that alive.
        let path = Bytes::copy_from_slice(path);
        self.kept
            .push(Reverse(Weighed(weight, Reverse(path), note)));
    }

    /// The paths that were kept, the highest first.
    pub(crate) fn highest_first(self) -> impl Iterator<Item = Ranked<T>> {
        let sorted = self.kept.into_sorted_vec().into_iter();
        sorted.map(|Reverse(Weighed(weight, Reverse(path), note))| Ranked {
            path: escaped_path(&path),
            weight,
            note,
        })
    }
}

/// Writes rows of two numbers and a path, under this line.
pub(crate) fn write_rows<'a, T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    rows: impl ExactSizeIterator<Item = (u64, T, &'a String)>,
) -> fmt::Result {
    if rows.len() > 0 {
        writeln!(f, "{heading}")?;
    }
    for (first, second, path) in rows {
        writeln!(f, "           {first:>7} {second:>10}  {path}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_are_kept_in_order_and_of_equals_the_first_by_path(
            weights in prop::collection::hash_map("/[a-z]{1,3}", 0_u64..5, 0..30),
            most in 0_usize..8,
        ) {
            let mut ranking = Ranking::of(most);
            for (path, weight) in &weights {
                ranking.offer(path.as_bytes(), *weight, ());
            }
            let found: Vec<_> = ranking.highest_first().map(|r| (r.path, r.weight)).collect();
            let mut expected: Vec<_> = weights.into_iter().collect();
            expected.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
            expected.truncate(most);
            prop_assert_eq!(found, expected);
        }
    }
}
