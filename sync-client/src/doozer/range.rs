//! Finding a write among the revisions of the cluster's history, which can be read without waiting.
//!
//! A delete's answer does not carry its revision. A REV before the delete on the same connection is
//! answered in order, so it is older than the delete; a REV after its answer is not. The newest
//! delete of the path between the two is ours or a later one: a persister that has it on disk has
//! ours.

use cairn_client::{Client, Event, EventKind, Result, Revision};
use futures::{StreamExt, TryStreamExt, stream};

/// Revisions that are read at once: a delete is usually among the newest few, and on a busy cluster
/// the range is as wide as one round trip.
const WINDOW: usize = 32;

/// Revisions among which a write is searched: both ends are included, and the cluster has reached
/// the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RevisionRange {
    pub(crate) first: Revision,
    pub(crate) last: Revision,
}

/// The newest delete of `path` in the range; `None`: there is none, or the history is gone.
pub(crate) async fn newest_delete(
    client: &Client,
    path: &str,
    range: RevisionRange,
) -> Result<Option<Revision>> {
    let found = newest(client, range, |event| {
        event.kind == EventKind::Delete && event.path == path
    });
    match found.await {
        Err(error) if error.is_too_late() => Ok(None),
        other => other,
    }
}

/// The newest set of `path` to exactly `value` in the range; `None`: there is none.
pub(crate) async fn newest_set(
    client: &Client,
    path: &str,
    value: &[u8],
    range: RevisionRange,
) -> Result<Option<Revision>> {
    // Nearly always it is the present content, or nothing has happened at all.
    if let Some(file) = client.get(path, Some(range.last)).await? {
        if file.revision < range.first {
            return Ok(None);
        }
        if file.value == value {
            return Ok(Some(file.revision));
        }
    }
    newest(client, range, |event| {
        event.kind == EventKind::Set && event.path == path && event.value == value
    })
    .await
}

async fn newest(
    client: &Client,
    range: RevisionRange,
    is_it: impl Fn(&Event) -> bool,
) -> Result<Option<Revision>> {
    let newest_first = (range.first.0..=range.last.0).rev();
    let mut events = stream::iter(newest_first)
        .map(|revision| client.wait("/**", Revision(revision)))
        .buffered(WINDOW);
    while let Some(event) = events.try_next().await? {
        if is_it(&event) {
            return Ok(Some(event.revision));
        }
    }
    Ok(None)
}
