//! One task a persister: follows what the persister says, over one watch, for all writes in flight.
//!
//! It reads the persister's watermark and then follows it, and the heartbeats beside it. Where there
//! is no watermark it follows the persister's whole directory, which is the mirror and, should one
//! appear, the watermark. Everything is read anew when the client's connection is replaced: what
//! was known came over the old one, and behind the new one there may be another cluster.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use cairn_client::{Client, Event, EventKind, File, Result, Revision};
use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::progress::{Observed, Progress, Source, Target};
use crate::pulse::{Behind, Pulse};
use crate::waiters::{Key, Waiters, Word, word};
use cairn_protocol::{keys, progress};

/// The pause after a failure. Losing the connection is none (the client mends that by itself);
/// what is left is a server that refuses, which need not be asked more often than people notice.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One persister as this client sees it, shared by its task and all writes in flight.
#[derive(Debug)]
pub(crate) struct Persister {
    pub(crate) id: u32,
    state: Mutex<State>,
    nudge: Notify,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    waiters: Waiters,
    pulse: Pulse,
    heard: Option<Instant>,
    /// What the cluster behind `progress.connection` calls itself.
    cluster: Option<Bytes>,
    /// Somebody waits in vain for the watermark: perhaps it is a leftover, and the persister of
    /// today writes only the mirror.
    suspected: bool,
}

/// What is read before the changes are followed.
struct Present {
    connection: u64,
    watermark: Option<Revision>,
    /// The revision of the owner key.
    owner: Option<Revision>,
    cluster: Option<Bytes>,
}

/// Takes a waiter out of the queue when its wait ends, however it ends.
struct Waiting<'a> {
    persister: &'a Persister,
    key: Key,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.persister.state().waiters.remove(&self.key);
    }
}

impl Persister {
    pub(crate) fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::default(),
            nudge: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// Waits until it is proven, over this connection, that the target is on disk.
    pub(crate) async fn wait(&self, connection: u64, target: &Target) -> Word {
        let (_waiting, told) = {
            let mut state = self.state();
            if let Some(word) = word(&state.progress, connection, target) {
                return word;
            }
            let (key, told) = state.waiters.add(connection, target.clone());
            let waiting = Waiting {
                persister: self,
                key,
            };
            (waiting, told)
        };
        told.await
            .expect("whoever is taken out of the queue by another is told why")
    }

    /// Says that a write has waited longer than is usual for this persister's watermark.
    pub(crate) fn suspect(&self) {
        let mut state = self.state();
        let narrow = state.progress.source == Source::Watermark;
        if narrow && !state.suspected {
            state.suspected = true;
            self.nudge.notify_one();
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.state().progress.source
    }

    pub(crate) fn watermark(&self) -> Option<Revision> {
        self.state().progress.watermark
    }

    /// What the cluster behind this connection calls itself, if that was read.
    pub(crate) fn cluster_over(&self, connection: u64) -> Option<Bytes> {
        let state = self.state();
        let same = state.progress.connection == connection;
        state.cluster.clone().filter(|_| same)
    }

    /// What is known of it, for a write that it has not confirmed.
    pub(crate) fn behind(&self) -> Behind {
        let now = Instant::now();
        let state = self.state();
        Behind {
            persister: self.id,
            durable_to: state.progress.watermark,
            heard: state
                .heard
                .map(|heard| now.saturating_duration_since(heard)),
            liveness: state.pulse.liveness(now),
        }
    }

    /// From now on, remembers what the mirror of the path shows, until the guard is dropped.
    pub(crate) fn interest(self: &Arc<Self>, path: &str) -> Interest {
        self.state().progress.register(path);
        Interest {
            persister: Arc::clone(self),
            path: path.to_owned(),
        }
    }

    /// Reads what the mirror of a path shows now.
    pub(crate) async fn read_mirror(&self, client: &Client, path: &str) -> Result<()> {
        let now = client.rev().await?;
        let file = client.get(&keys::mirror(self.id, path), Some(now)).await?;
        let shown = file.as_ref().and_then(published);
        self.observe(path, now, shown, Observed::State);
        Ok(())
    }

    fn observe(&self, path: &str, at: Revision, shown: Option<Revision>, how: Observed) {
        let state = &mut *self.state();
        if state.progress.observe(path, at, shown, how) {
            state.waiters.observed(&state.progress, path);
        }
    }

    /// Follows the persister for ever. Dropping the future ends it.
    pub(crate) async fn follow(self: Arc<Self>, client: Client) {
        loop {
            match self.follow_once(&client).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(persister = self.id, %error, "cannot follow the persister");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Reads the present, then follows the changes, until one of them asks for a new beginning.
    async fn follow_once(&self, client: &Client) -> Result<()> {
        let mut status = client.status();
        let connection = status.borrow_and_update().generation();
        let now = client.rev().await?;
        let watermark = client.get(&keys::watermark(self.id), None).await?;
        let owner = client.get(&keys::owner(self.id), None).await?;
        let cluster = client.get(keys::IDENTITY, None).await?;
        if status.borrow().generation() != connection {
            return Ok(());
        }
        let present = Present {
            connection,
            watermark: watermark.as_ref().and_then(published),
            owner: owner.map(|owner| owner.revision),
            cluster: cluster.map(|cluster| cluster.value),
        };
        let source = self.begin(present);
        let glob = match source {
            Source::Watermark => keys::about(self.id),
            _ => format!("{}/**", keys::directory(self.id)),
        };
        let mut events = client.watch(&glob, now.next());
        if source == Source::Mirror {
            let paths = self.state().progress.paths();
            for path in paths {
                self.read_mirror(client, &path).await?;
            }
        }
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event.transpose()? else { return Ok(()) };
                    // It may have come over a connection that replaced ours.
                    if status.borrow().generation() != connection {
                        return Ok(());
                    }
                    if self.take(&event, source) == Next::Anew {
                        return Ok(());
                    }
                }
                () = replaced(&mut status, connection) => return Ok(()),
                () = self.nudge.notified() => {
                    if self.state().suspected {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes in the present; what is to be followed from now on.
    fn begin(&self, present: Present) -> Source {
        let state = &mut *self.state();
        let suspected = std::mem::take(&mut state.suspected);
        let source = match present.watermark {
            Some(_) if !suspected => Source::Watermark,
            _ => Source::Mirror,
        };
        state
            .progress
            .begin(present.connection, source, present.watermark);
        state.waiters.begun(&state.progress);
        state.pulse.read(Instant::now(), present.owner);
        state.cluster = present.cluster;
        source
    }

    fn take(&self, event: &Event, source: Source) -> Next {
        let now = Instant::now();
        self.state().heard = Some(now);
        if event.path == keys::watermark(self.id) {
            return self.take_watermark(event, source);
        }
        if event.path == keys::owner(self.id) {
            let pulse = &mut self.state().pulse;
            match event.kind {
                EventKind::Set => pulse.beat(now, event.revision),
                EventKind::Delete => pulse.gone(now),
                EventKind::Nop => {}
            }
        } else {
            self.take_mirror(event);
        }
        Next::Event
    }

    fn take_watermark(&self, event: &Event, source: Source) -> Next {
        if event.kind != EventKind::Set {
            // Deleted: from now on there is only the mirror.
            return if source == Source::Watermark {
                Next::Anew
            } else {
                Next::Event
            };
        }
        let Some(watermark) = number(&event.value) else {
            tracing::warn!(
                persister = self.id,
                key = event.path,
                "the watermark is no revision; it is passed over"
            );
            return Next::Event;
        };
        {
            let state = &mut *self.state();
            state.progress.raise(watermark);
            state.waiters.raised(&state.progress);
        }
        // A watermark that moves is all that has to be followed.
        if source == Source::Mirror {
            Next::Anew
        } else {
            Next::Event
        }
    }

    fn take_mirror(&self, event: &Event) {
        let Some(path) = keys::mirrored(self.id, &event.path) else {
            return;
        };
        let shown = match event.kind {
            EventKind::Set => match number(&event.value) {
                Some(shown) => Some(shown),
                // Not the protocol's; to take it for a deletion would be worse.
                None => return,
            },
            EventKind::Delete => None,
            EventKind::Nop => return,
        };
        self.observe(path, event.revision, shown, Observed::Change);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Go on with the next event.
    Event,
    /// Read the present again, and follow what it says is to be followed.
    Anew,
}

/// Ends when the client's connection is another than `connection`.
pub(crate) async fn replaced(status: &mut watch::Receiver<cairn_client::Status>, connection: u64) {
    let replaced = status
        .wait_for(|status| status.generation() != connection)
        .await
        .is_ok();
    if !replaced {
        // The session is over, and whatever is waited for beside this is about to say so.
        let never: Infallible = std::future::pending().await;
        match never {}
    }
}

/// The revision that a file of the persister's holds.
fn published(file: &File) -> Option<Revision> {
    number(&file.value)
}

fn number(value: &[u8]) -> Option<Revision> {
    progress::parse_revision(value).ok().map(Revision)
}

/// Keeps a path's mirror remembered. Dropping it, also with the write that holds it, ends that.
#[derive(Debug)]
pub(crate) struct Interest {
    persister: Arc<Persister>,
    path: String,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.persister.state().progress.release(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decimal_revisions_are_revisions() {
        assert_eq!(number(b"17"), Some(Revision(17)));
        assert_eq!(number(b"17\n"), Some(Revision(17)));
        for bad in [
            &b""[..],
            b"-1",
            b"1.5",
            b"0x11",
            b"\xff",
            b"99999999999999999999",
        ] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_leaves_the_queue() {
        let persister = Persister::new(1);
        let target = Target::All(Revision(10));
        let wait = persister.wait(1, &target);
        let waited = tokio::time::timeout(Duration::from_millis(1), wait).await;
        assert!(waited.is_err());
        assert_eq!(persister.state().waiters.len(), 0);
    }

    #[test]
    fn interest_ends_with_its_guard() {
        let persister = Persister::new(1);
        let first = persister.interest("/a");
        let second = persister.interest("/a");
        drop(first);
        assert_eq!(persister.state().progress.paths(), ["/a"]);
        drop(second);
        assert!(persister.state().progress.paths().is_empty());
    }
}
