//! The third stage: says inside the cluster what is on disk.
//!
//! Promise: nothing is said that was not handed over as durable. A publisher lives with one
//! session and ends with it; what it had not written by then is written by the next one, which
//! starts from the journal.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::cluster::control::ControlKey;
use crate::cluster::error::Result as ClusterResult;
use crate::cluster::session::Session;
use crate::cluster::write::Expect;

/// How often the progress of the mirror is noted. A restart repeats at most this much of it.
pub const MIRRORED_EVERY: Duration = Duration::from_secs(1);

/// Writes a key that only the holder of the id may write.
///
/// Each write is a compare-and-set on the one before: a persister that was replaced cannot
/// overwrite what its successor says.
#[derive(Debug)]
pub struct Announcer<S> {
    session: S,
    key: ControlKey,
    expect: Expect,
}

impl<S: Session> Announcer<S> {
    /// Begins with what the key says now.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn new(session: &S, key: ControlKey) -> ClusterResult<Self> {
        let expect = match session.read(&key).await? {
            Some(control) => Expect::At(control.revision),
            None => Expect::Absent,
        };
        Ok(Self {
            session: session.clone(),
            key,
            expect,
        })
    }

    /// Says it.
    ///
    /// # Errors
    /// The cluster's; [`Error::Conflict`](crate::cluster::error::Error::Conflict) if somebody else
    /// has written the key.
    pub async fn say(&mut self, what: String) -> ClusterResult<()> {
        let written = self.session.write(&self.key, self.expect, what.into());
        self.expect = Expect::At(written.await?);
        Ok(())
    }
}

/// Says in `key` what `value` is whenever that has changed, at most once in `every`, one write at a
/// time, and calls `told` after each.
///
/// One write at a time keeps the key from ever going back. Returns once the sender is gone and the
/// last value is written.
///
/// # Errors
/// The cluster's; [`Error::Conflict`](crate::cluster::error::Error::Conflict) if somebody else
/// writes the key.
pub async fn announce<S: Session, T: Clone + Send + Sync>(
    session: &S,
    key: ControlKey,
    mut value: watch::Receiver<T>,
    every: Duration,
    say: impl Fn(&T) -> String,
    told: impl Fn(&T),
) -> ClusterResult<()> {
    let mut announcer = Announcer::new(session, key).await?;
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
        tracing::trace!(name: "publisher woke", target: "stage", "");
        let reached = value.borrow_and_update().clone();
        announcer.say(say(&reached)).await?;
        told(&reached);
    }
    Ok(())
}

/// Returns once the sender is gone.
async fn closed<T>(mut value: watch::Receiver<T>) {
    while value.changed().await.is_ok() {}
}
