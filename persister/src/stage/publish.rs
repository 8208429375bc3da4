//! The third stage: says inside the cluster what is on disk.
//!
//! Promise: nothing is said that was not handed over as durable. A publisher lives with one
//! session and ends with it; what it had not written by then is written by the next one, which
//! starts from the journal.

use std::time::Duration;

use bytes::Bytes;
use cairn_journal::Revision;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Durable;
use crate::cluster::{self, ControlKey, Expect, Id, Session};
use crate::mirror::{Families, Kind, Op, coalesce};

/// How many mirror writes are in flight at most: enough to fill a connection, few enough that a
/// watermark written beside them does not wait long.
const WINDOW: usize = 128;

/// How many operations one round of mirror writes gathers at most, which bounds its memory.
const ROUND_OPS: usize = 16_384;

/// How often the progress of the mirror is noted. A restart repeats at most this much of it.
pub const MIRRORED_EVERY: Duration = Duration::from_secs(1);

/// Writes `key` whenever `value` has changed, at most once in `every`, one write at a time.
///
/// One write at a time keeps the key from ever going back. Returns once the sender is gone and
/// the last value is written.
///
/// # Errors
/// The cluster's.
pub async fn announce<S: Session>(
    session: &S,
    key: ControlKey,
    mut value: watch::Receiver<Revision>,
    every: Duration,
) -> cluster::Result<()> {
    let mut next = Instant::now();
    // `changed` reports an unseen value even after the sender is gone, so the last word is said.
    while value.changed().await.is_ok() {
        if !every.is_zero() {
            tokio::select! {
                () = sleep_until(next) => {}
                () = closed(value.clone()) => {}
            }
            next = Instant::now() + every;
        }
        let revision = *value.borrow_and_update();
        session
            .write(&key, Expect::Any, revision.to_string().into())
            .await?;
    }
    Ok(())
}

/// Returns once the sender is gone.
async fn closed(mut value: watch::Receiver<Revision>) {
    while value.changed().await.is_ok() {}
}

/// Writes the per-path mirror until the sender is gone and everything handed over is written.
///
/// # Errors
/// The cluster's, if the session ended. An entry that the cluster refuses is logged and left out.
pub async fn mirror<S: Session>(
    session: &S,
    id: Id,
    mut durable: mpsc::Receiver<Durable>,
    mirrored: watch::Sender<Revision>,
) -> cluster::Result<()> {
    while let Some(Durable {
        mut newest,
        mut ops,
    }) = durable.recv().await
    {
        while ops.len() < ROUND_OPS {
            match durable.try_recv() {
                Ok(more) => {
                    newest = more.newest;
                    ops.extend(more.ops);
                }
                Err(_) => break,
            }
        }
        write_round(session, id, coalesce(ops)).await?;
        // A part of a first, incomplete mirror is no progress yet.
        mirrored.send_if_modified(|done| {
            let further = newest > *done;
            *done = newest.max(*done);
            further
        });
    }
    Ok(())
}

/// Writes `ops`, many in flight, in an order in which their families allow it.
async fn write_round<S: Session>(session: &S, id: Id, ops: Vec<Op>) -> cluster::Result<()> {
    let mut families = Families::default();
    let mut in_flight = FuturesUnordered::new();
    for op in ops {
        // A full window, or a relative in flight: somebody must land first.
        while in_flight.len() >= WINDOW || !families.start(&op.path) {
            let landed = in_flight.next().await;
            let path: Bytes = landed.expect("a relative can only be in flight if something is")?;
            families.finish(&path);
        }
        in_flight.push(write_one(session, id, op));
    }
    while let Some(landed) = in_flight.next().await {
        landed?;
    }
    Ok(())
}

async fn write_one<S: Session>(session: &S, id: Id, op: Op) -> cluster::Result<Bytes> {
    let key = ControlKey::Mirror(id, op.path.clone());
    let written = match op.kind {
        Kind::Set => session
            .write(&key, Expect::Any, op.revision.to_string().into())
            .await
            .map(drop),
        Kind::Delete => session.delete(&key, Expect::Any).await,
    };
    match written {
        Ok(()) => Ok(op.path),
        Err(error @ cluster::Error::Unavailable(_)) => Err(error),
        Err(error) => {
            tracing::warn!(
                path = %String::from_utf8_lossy(&op.path), revision = %op.revision, %error,
                "the cluster refuses this mirror entry; the change is on disk and the watermark covers it"
            );
            Ok(op.path)
        }
    }
}
