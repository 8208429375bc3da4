//! Finding the revision of a delete, which the cluster does not tell.
//!
//! A REV before the delete on the same connection is answered in order, so it is older than the
//! delete; a REV after its answer is not. Between the two, every revision can be read without
//! waiting. The newest delete of the path there is ours or a later one: whoever has that one on
//! disk has ours.

use cairn_client::{Client, EventKind, Result, Revision};
use futures::{StreamExt, TryStreamExt, stream};

/// How many revisions are read at once: a delete is usually among the newest few, and on a busy
/// cluster the bracket is as wide as one round trip.
const WINDOW: usize = 32;

/// The revisions among which a delete is: after `after`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bracket {
    pub(crate) after: Revision,
    pub(crate) to: Revision,
}

/// The newest delete of `path` in the bracket; `None`: there is none, or the history is gone.
pub(crate) async fn newest_delete(
    client: &Client,
    path: &str,
    bracket: Bracket,
) -> Result<Option<Revision>> {
    let newest_first = (bracket.after.next().0..=bracket.to.0).rev();
    let mut events = stream::iter(newest_first)
        .map(|revision| client.wait("/**", Revision(revision)))
        .buffered(WINDOW);
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if event.kind == EventKind::Delete && event.path == path {
                    return Ok(Some(event.revision));
                }
            }
            Ok(None) => return Ok(None),
            Err(error) if error.is_too_late() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
