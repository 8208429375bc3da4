//! One task a persister: follows what the persister says, over one watch, for all writes in flight.
//!
//! It reads the persister's watermark and then follows it. Where there is none it follows the
//! persister's whole directory, which is the mirror and, should one appear, the watermark. Everything
//! is read anew when the client's connection is replaced: what was known came over the old
//! one, and behind the new one there may be another cluster.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_client::{Client, Event, EventKind, File, Result, Revision};
use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::keys;
use crate::progress::{Observed, Progress, Source, Target};

/// The pause after a failure. Losing the connection is none (the client mends that by itself);
/// what is left is a server that refuses, which need not be asked more often than people notice.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One persister as this client sees it, shared by its task and all writes in flight.
#[derive(Debug)]
pub(crate) struct Persister {
    pub(crate) id: u32,
    progress: watch::Sender<Progress>,
    /// Somebody waits in vain for the watermark: perhaps it is a leftover, and the persister of
    /// today writes only the mirror.
    suspected: AtomicBool,
    nudge: Notify,
    heard: Mutex<Option<Instant>>,
}

/// What a wait for one persister came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It has the write on disk.
    Covered(u32),
    /// The connection over which the write was sent is gone.
    Moved,
}

impl Persister {
    pub(crate) fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            progress: watch::Sender::default(),
            suspected: AtomicBool::new(false),
            nudge: Notify::new(),
            heard: Mutex::new(None),
        })
    }

    /// Waits until it is proven, over this connection, that the target is on disk.
    pub(crate) async fn wait(&self, connection: u64, target: &Target) -> Word {
        let mut progress = self.progress.subscribe();
        let proven = progress
            .wait_for(|progress| {
                progress.connection > connection
                    || (progress.connection == connection && progress.covers(target))
            })
            .await
            .expect("the sender is borrowed with self");
        if proven.connection == connection {
            Word::Covered(self.id)
        } else {
            Word::Moved
        }
    }

    /// Says that a write has waited longer than is usual for this persister's watermark.
    pub(crate) fn suspect(&self) {
        let narrow = self.source() == Source::Watermark;
        if narrow && !self.suspected.swap(true, Ordering::Relaxed) {
            self.nudge.notify_one();
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.progress.borrow().source
    }

    pub(crate) fn watermark(&self) -> Option<Revision> {
        self.progress.borrow().watermark
    }

    /// How long ago it last said anything.
    pub(crate) fn heard(&self) -> Option<Duration> {
        self.heard_lock().map(|heard| heard.elapsed())
    }

    fn heard_lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.heard
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// From now on, remembers what the mirror of the path shows, until the guard is dropped.
    pub(crate) fn interest(self: &Arc<Self>, path: &str) -> Interest {
        self.modify(|progress| {
            progress.register(path);
            false
        });
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
        self.modify(|progress| progress.observe(path, now, shown, Observed::State));
        Ok(())
    }

    fn modify(&self, change: impl FnOnce(&mut Progress) -> bool) {
        self.progress.send_if_modified(change);
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
        let key = keys::watermark(self.id);
        let watermark = client.get(&key, None).await?;
        let watermark = watermark.as_ref().and_then(published);
        if status.borrow().generation() != connection {
            return Ok(());
        }
        let suspected = self.suspected.swap(false, Ordering::Relaxed);
        let source = match watermark {
            Some(_) if !suspected => Source::Watermark,
            _ => Source::Mirror,
        };
        self.modify(|progress| {
            progress.begin(connection, source, watermark);
            true
        });
        let glob = match source {
            Source::Watermark => key.clone(),
            _ => format!("{}/**", keys::directory(self.id)),
        };
        let mut events = client.watch(&glob, now.next());
        if source == Source::Mirror {
            let paths = self.progress.borrow().paths();
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
                    *self.heard_lock() = Some(Instant::now());
                    if event.path == key {
                        if self.take_watermark(&event, source) == Next::Anew {
                            return Ok(());
                        }
                    } else {
                        self.take_mirror(&event);
                    }
                }
                () = replaced(&mut status, connection) => return Ok(()),
                () = self.nudge.notified() => {
                    if self.suspected.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
            }
        }
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
        self.modify(|progress| {
            progress.raise(watermark);
            true
        });
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
        self.modify(|progress| progress.observe(path, event.revision, shown, Observed::Change));
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
async fn replaced(status: &mut watch::Receiver<cairn_client::Status>, connection: u64) {
    let replaced = status
        .wait_for(|status| status.generation() != connection)
        .await
        .is_ok();
    if !replaced {
        // The session is over, and the watch is about to say so.
        let never: Infallible = std::future::pending().await;
        match never {}
    }
}

/// The revision that a file of the persister's holds.
fn published(file: &File) -> Option<Revision> {
    number(&file.value)
}

fn number(value: &[u8]) -> Option<Revision> {
    let text = str::from_utf8(value).ok()?;
    let number: i64 = text.trim().parse().ok()?;
    (number >= 0).then_some(Revision(number))
}

/// Keeps a path's mirror remembered. Dropping it, also with the write that holds it, ends that.
#[derive(Debug)]
pub(crate) struct Interest {
    persister: Arc<Persister>,
    path: String,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.persister.modify(|progress| {
            progress.release(&self.path);
            false
        });
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

    #[test]
    fn interest_ends_with_its_guard() {
        let persister = Persister::new(1);
        let first = persister.interest("/a");
        let second = persister.interest("/a");
        drop(first);
        assert_eq!(persister.progress.borrow().paths(), ["/a"]);
        drop(second);
        assert!(persister.progress.borrow().paths().is_empty());
    }
}
