//! Is what clients saw the history of one store? Checked against the journal, which has it.
//!
//! Every operation must have taken effect at one revision between its call and its return. The
//! journal says what each revision did, so an operation has few places to be: a set its revision, a
//! get the revisions at which the file was as it was read. Operations are placed in the order of
//! their calls, each as early as it can be, but not before anything that had returned by then; if
//! one finds no place, there is none.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use cairn_journal::{Entry, Op, Record};

/// What a client did and was told.
#[derive(Clone, Debug)]
pub(crate) enum Did {
    Set { revision: i64, value: Bytes },
    Delete,
    Get { found: Option<(i64, Bytes)> },
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) path: String,
    pub(crate) called: Instant,
    pub(crate) returned: Instant,
    pub(crate) did: Did,
}

/// What happened to each path: at which revision it became what; `None`: deleted.
#[derive(Default)]
pub(crate) struct Truth {
    paths: BTreeMap<String, BTreeMap<i64, Option<Bytes>>>,
}

impl Truth {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut truth = Self::default();
        for record in records {
            if let Entry::Changes { changes, .. } = &record.entry {
                for change in changes {
                    let path = String::from_utf8_lossy(&change.path);
                    let value = match &change.op {
                        Op::Set(value) => Some(value.clone()),
                        Op::Delete => None,
                    };
                    let revision = change.revision.unwrap_or(record.revision);
                    truth.add(&path, revision.0, value);
                }
            }
        }
        truth
    }

    fn add(&mut self, path: &str, revision: i64, value: Option<Bytes>) {
        let path = self.paths.entry(path.to_owned()).or_default();
        path.insert(revision, value);
    }

    /// The revisions at which a path was deleted.
    pub(crate) fn deletes(&self, path: &str) -> Vec<i64> {
        let changes = self.paths.get(path).into_iter().flatten();
        changes
            .filter(|(_, value)| value.is_none())
            .map(|(revision, _)| *revision)
            .collect()
    }

    /// The earliest place of an operation that is not before `floor`.
    fn place(&self, operation: &Operation, floor: i64) -> Option<i64> {
        let none = BTreeMap::new();
        let changes = self.paths.get(&operation.path).unwrap_or(&none);
        match &operation.did {
            Did::Set { revision, value } => {
                let there = changes.get(revision) == Some(&Some(value.clone()));
                (there && *revision > floor).then_some(*revision)
            }
            Did::Delete => changes
                .range(floor + 1..)
                .find(|(_, value)| value.is_none())
                .map(|(revision, _)| *revision),
            Did::Get { found } => {
                let mut begins = std::iter::once((0, &None))
                    .chain(changes.iter().map(|(revision, value)| (*revision, value)))
                    .peekable();
                while let Some((begin, value)) = begins.next() {
                    let end = begins.peek().map_or(i64::MAX, |(next, _)| next - 1);
                    let same = match (found, value) {
                        (None, None) => true,
                        (Some((revision, found)), Some(value)) => {
                            *revision == begin && found == value
                        }
                        _ => false,
                    };
                    if same && end >= floor {
                        return Some(begin.max(floor));
                    }
                }
                None
            }
        }
    }

    /// Checks a history, in any order; the number of operations.
    ///
    /// # Errors
    /// The first operation for which there is no place.
    pub(crate) fn check(&self, mut history: Vec<Operation>) -> Result<usize> {
        history.sort_by_key(|operation| operation.called);
        // Placed, but not returned by the time of the call that is looked at.
        let mut open: Vec<(Instant, i64)> = Vec::new();
        let mut floor = 0;
        for operation in &history {
            ensure!(operation.called <= operation.returned, "time runs forward");
            open.retain(|(returned, place)| {
                let over = *returned < operation.called;
                if over {
                    floor = floor.max(*place);
                }
                !over
            });
            match self.place(operation, floor) {
                Some(place) => open.push((operation.returned, place)),
                None => bail!("no place after revision {floor} for {operation:?}"),
            }
        }
        Ok(history.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn operation(start: Instant, called: u64, returned: u64, did: Did) -> Operation {
        Operation {
            path: "/a".into(),
            called: start + Duration::from_secs(called),
            returned: start + Duration::from_secs(returned),
            did,
        }
    }

    #[test]
    fn stale_reads_and_reads_of_the_future_have_no_place() {
        let start = Instant::now();
        let value = Bytes::from("x");
        let mut truth = Truth::default();
        truth.add("/a", 10, Some(value.clone()));
        truth.add("/a", 20, None);
        let set = |called, returned| {
            let (revision, value) = (10, value.clone());
            operation(start, called, returned, Did::Set { revision, value })
        };
        let get = |called, returned, found: Option<i64>| {
            let found = found.map(|revision| (revision, value.clone()));
            operation(start, called, returned, Did::Get { found })
        };
        let delete = |called, returned| operation(start, called, returned, Did::Delete);
        let good = [
            set(1, 3),
            get(2, 4, Some(10)),
            delete(5, 7),
            get(6, 8, Some(10)),
            get(8, 9, None),
        ];
        assert_eq!(truth.check(good.to_vec()).expect("one history"), 5);
        for bad in [
            [set(1, 2), delete(3, 4), get(5, 6, Some(10))],
            [set(1, 2), get(3, 4, None), get(5, 6, Some(10))],
            [get(1, 2, Some(10)), set(3, 4), delete(5, 6)],
            [set(1, 2), delete(3, 4), delete(5, 6)],
        ] {
            assert!(truth.check(bad.to_vec()).is_err(), "{bad:?}");
        }
    }
}
