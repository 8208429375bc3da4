//! Deletes that return when they are on disk.
//!
//! A delete waits for its own revision, which is searched in a range of revisions. If the
//! connection is replaced after the delete was answered, the delete is done and only its revision
//! is missing: the search then goes on over the new connection, once it is certain that the same
//! cluster is behind it.

use bytes::Bytes;
use cairn_client::{Result, Revision, Status};
use tokio::time::{Instant, timeout_at};

use crate::core::target::Target;
use crate::doozer::confirm::Confirmer;
use crate::doozer::error;
use crate::doozer::range::{RevisionRange, newest_delete};

/// Where a delete was found, and the connection over which it was looked for.
struct Found {
    revision: Revision,
    connection: u64,
}

/// Deletes the file, and returns when that is on disk.
pub(crate) async fn delete(confirmer: &Confirmer, path: &str, rev: Revision) -> error::Result<()> {
    let regular = &confirmer.regular;
    let _interest = confirmer.witnesses.interest(path);
    confirmer.read_mirrors(path).await;

    let connected = regular.status().borrow().clone();
    let connection = connected.generation();
    let name = confirmer.witnesses.name_over(connection);
    // Polled in this order, so sent in this order, with one round trip for both.
    let (before, deleted) = tokio::join!(biased; regular.rev(), regular.del(path, rev));
    deleted?;
    let started = Instant::now();
    let same = confirmer.connection() == connection;
    let after = match (before, connected) {
        (Ok(before), _) if same => before,
        // Of which connection that answer speaks is not certain; the cluster was at least here.
        (_, Status::Connected { revision, .. }) => revision,
        (_, Status::Disconnected { .. }) => Revision::MISSING,
    };
    let end = confirmer.witnesses.end(started);
    let search = timeout_at(end, search(confirmer, path, after, (connection, name))).await;
    match search {
        Ok(Some(Found {
            revision,
            connection,
        })) => {
            let target = Target::Delete {
                path: path.into(),
                revision: revision.into(),
                removed: None,
            };
            confirmer.confirm(target, connection, started).await
        }
        _ => Err(confirmer.unconfirmed(after, false, Vec::new(), started.elapsed())),
    }
}

/// Looks for the delete until it is found, or cannot be found any more.
async fn search(
    confirmer: &Confirmer,
    path: &str,
    after: Revision,
    (deleted_over, name): (u64, Option<Bytes>),
) -> Option<Found> {
    loop {
        let connection = confirmer.connection();
        let moved = connection != deleted_over;
        let outcome = if moved {
            look_again(confirmer, path, after, name.as_ref()).await
        } else {
            look(confirmer, path, after).await
        };
        if confirmer.connection() != connection {
            continue;
        }
        match outcome {
            Ok(revision) => {
                return revision.map(|revision| Found {
                    revision,
                    connection,
                });
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(path, %error, "cannot look for the delete");
                confirmer.pause().await;
            }
            Err(_) => return None,
        }
    }
}

/// Looks for the delete over the connection over which it was answered, or behind a fence.
async fn look(confirmer: &Confirmer, path: &str, after: Revision) -> Result<Option<Revision>> {
    let regular = &confirmer.regular;
    let range = RevisionRange {
        first: after.next(),
        last: regular.rev().await?,
    };
    newest_delete(regular, path, range).await
}

/// Looks for the delete over another connection.
async fn look_again(
    confirmer: &Confirmer,
    path: &str,
    after: Revision,
    name: Option<&Bytes>,
) -> Result<Option<Revision>> {
    if after <= Revision::MISSING || !confirmer.is_called(name).await? {
        return Ok(None);
    }
    // This node may lag behind the one that answered the delete. A revision that is made now is
    // newer than the delete, and once this node has it, it has the delete.
    confirmer.regular.nop().await?;
    look(confirmer, path, after).await
}
