//! Which cluster this is where nothing of ours stands in it, or no revision can be compared: told
//! from its keys.
//!
//! A persister that only observes gives the cluster no name. So the cluster is known by what it
//! has: every live key that is not newer than the journal's end must be in the journal, with the
//! revision, the value and the attributes that it has. What that cannot see is a cluster that went
//! back, and in which every key that differs was deleted or written again since.

use cairn_journal::maintain::SortedEntries;
use cairn_journal::{Journal, KeyValue, Revision, Stop};
use tokio::task::block_in_place;

use crate::attach::snapshot_diff::sorted;
use crate::cluster::session::Session;
use crate::error::Error;

/// How the keys of a cluster compare with those of a journal, of all that are not newer than the
/// journal's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Likeness {
    /// How many are as the journal has them.
    pub(super) same: u64,
    /// How many are not.
    pub(super) other: u64,
}

/// Compares all keys.
///
/// # Errors
/// The cluster's, the journal's.
pub(super) async fn likeness<S: Session>(
    session: &S,
    journal: &Journal,
    newest: Revision,
    stop: &Stop,
) -> Result<Likeness, Error> {
    let journaled = block_in_place(|| journal.consistent_state(stop))?.entries;
    let at = session.revision().await?;
    let live = sorted(journal.sorter()?, session.snapshot(at)).await?;
    let is_same = |a: &KeyValue, b: &KeyValue| {
        a.revision == b.revision
            && a.value == b.value
            && session.same_attributes(&a.attributes, &b.attributes)
    };
    Ok(block_in_place(|| {
        compared(journaled, live, newest, is_same, stop)
    })?)
}

fn compared(
    mut journaled: SortedEntries,
    live: SortedEntries,
    newest: Revision,
    is_same: impl Fn(&KeyValue, &KeyValue) -> bool,
    stop: &Stop,
) -> Result<Likeness, cairn_journal::Error> {
    let mut likeness = Likeness::default();
    let mut ours = journaled.next().transpose()?;
    for live in live {
        stop.check()?;
        let live = live?;
        if live.revision > newest {
            continue;
        }
        while ours.as_ref().is_some_and(|ours| ours.path < live.path) {
            ours = journaled.next().transpose()?;
        }
        let found = ours.as_ref().filter(|ours| ours.path == live.path);
        match found.is_some_and(|ours| is_same(ours, &live)) {
            true => likeness.same += 1,
            false => likeness.other += 1,
        }
    }
    Ok(likeness)
}
