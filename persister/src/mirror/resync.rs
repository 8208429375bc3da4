//! From whatever the mirror shows to what the journal's state is, without reading history.
//!
//! Invariant: *once all of it is written, the mirror is the image of the state at the returned
//! place*, whatever it showed before, and whichever records were retired. So it is the way
//!
//! * to a mirror that was never there, or that another journal has left behind,
//! * past records that retention has removed before the mirror was told of them: a path whose
//!   delete is not in the journal any more is one that the mirror shows and the state does not
//!   have,
//! * past the difference of a gap, which may hold every key.
//!
//! What it cannot do: tell of changes that left no trace in the state. Who waits for the delete of
//! a path that the mirror never showed, and whose record is gone, waits in vain.
//!
//! Memory is bounded: both sides are sorted streams (in files, where they are large).

use std::cmp::Ordering;

use cairn_journal::{Journal, KeyValue, Revision, Stop, maintain::Sorter};

use crate::mirror::ops::{Kind, Op};
use crate::mirror::records::Place;

/// The operations that lead from `shown`, paths with the revisions that the mirror shows of them,
/// to the journal's state, each given to `op` until that says `false`: deletes first, so that a
/// directory may become a file, then sets in the order of their revisions.
///
/// The place of the state; `None` if `op` said `false`.
///
/// # Errors
/// The journal's; [`cairn_journal::Error::Stopped`].
pub(super) fn resync(
    journal: &Journal,
    shown: Sorter,
    stop: &Stop,
    mut op: impl FnMut(Op) -> bool,
) -> Result<Option<Place>, cairn_journal::Error> {
    let state = journal.consistent_state(stop)?;
    let mut shown = shown.sorted()?;
    let mut entries = state.entries;
    let mut sets = journal.sorter()?;
    let (mut left, mut right) = (shown.next().transpose()?, entries.next().transpose()?);
    loop {
        stop.check()?;
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.path.cmp(&right.path),
        };
        let (gone, live) = (order.is_le(), order.is_ge());
        match (&left, &right) {
            (Some(left), _) if order.is_lt() => {
                let delete = Op {
                    path: left.path.clone(),
                    revision: state.revision,
                    kind: Kind::Delete,
                };
                if !op(delete) {
                    return Ok(None);
                }
            }
            (left, Some(right))
                if left.as_ref().map(|left| left.revision) != Some(right.revision)
                    || order.is_gt() =>
            {
                sets.push(by_revision(right))?;
            }
            _ => {}
        }
        if gone {
            left = shown.next().transpose()?;
        }
        if live {
            right = entries.next().transpose()?;
        }
    }
    for entry in sets.sorted()? {
        stop.check()?;
        let entry = entry?;
        let set = Op {
            path: entry.value,
            revision: entry.revision,
            kind: Kind::Set,
        };
        if !op(set) {
            return Ok(None);
        }
    }
    Ok(Some((state.sequence, state.revision)))
}

/// An entry that is sorted by its revision, and then by its path, which is its value.
fn by_revision(entry: &KeyValue) -> KeyValue {
    let Revision(revision) = entry.revision;
    // Revisions are not negative, so their bytes have their order.
    let key = [&revision.to_be_bytes()[..], &entry.path].concat();
    KeyValue::new(key, entry.revision, entry.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cairn_journal::{Change, NewRecord, Options, Timestamp};

    fn entry(path: &'static str, revision: i64) -> KeyValue {
        KeyValue::new(path, Revision(revision), "")
    }

    #[test]
    fn what_is_shown_becomes_the_state() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (journal, _) = Journal::open(dir.path(), Options::default())?;
        for (revision, change) in [
            (1, Change::set("/same", "x")),
            (2, Change::set("/newer", "x")),
            (3, Change::set("/dir/file", "x")),
            (4, Change::set("/gone", "x")),
            (5, Change::delete("/gone")),
            (6, Change::set("/newer", "y")),
            (7, Change::set("/lacking", "x")),
        ] {
            let at = Timestamp::now();
            journal.append_and_commit(NewRecord::changes(Revision(revision), vec![change], at))?;
        }
        let mut shown = journal.sorter()?;
        for entry in [
            entry("/same", 1),
            entry("/newer", 2),
            entry("/dir", 1),
            entry("/zombie", 4),
        ] {
            shown.push(entry)?;
        }
        let mut ops = Vec::new();
        let place = resync(&journal, shown, &Stop::new(), |op| {
            ops.push((op.kind, op.path, op.revision.0));
            true
        })?;
        let op = |kind, path: &'static str, revision| {
            (kind, Bytes::from_static(path.as_bytes()), revision)
        };
        assert_eq!(
            ops,
            [
                op(Kind::Delete, "/dir", 7),
                op(Kind::Delete, "/zombie", 7),
                op(Kind::Set, "/dir/file", 3),
                op(Kind::Set, "/newer", 6),
                op(Kind::Set, "/lacking", 7),
            ]
        );
        assert_eq!(place.map(|place| place.1), Some(Revision(7)));
        Ok(())
    }

    #[test]
    fn it_ends_when_asked_to() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (journal, _) = Journal::open(dir.path(), Options::default())?;
        let stop = Stop::new();
        stop.ask();
        let change = vec![Change::set("/a", "x")];
        journal.append_and_commit(NewRecord::changes(Revision(1), change, Timestamp::now()))?;
        let ended = resync(&journal, journal.sorter()?, &stop, |_| true);
        assert!(matches!(ended, Err(cairn_journal::Error::Stopped)));
        Ok(())
    }
}
