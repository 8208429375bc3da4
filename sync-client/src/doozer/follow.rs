//! One task for each persister: follows its keys over one watch, for all writes in flight.
//!
//! It reads the persister's watermark and then follows it, and the heartbeats beside it. Where
//! there is no watermark it follows the persister's whole directory, which is the mirror and,
//! should one appear, the watermark. Everything is read anew when the client's connection is
//! replaced: what was known came over the old one, and behind the new one there may be another
//! cluster.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::{Client, Event, EventKind, File, Result};
use cairn_protocol::{keys, progress};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::core::persister::{Persister, Present};
use crate::core::progress::{Observed, Source};
use crate::core::revision::Revision;

/// The pause after a failure. A lost connection is none: the client replaces it by itself. The
/// remaining one, a server that refuses, needs no quicker retry than people notice.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Follows the persister for ever, and attends to the writes that wait for it. Dropping the future
/// ends it.
pub(crate) async fn follow(persister: Arc<Persister>, client: Client) {
    let following = async {
        loop {
            if let Err(error) = follow_once(&persister, &client).await {
                tracing::debug!(persister = persister.id, %error, "cannot follow the persister");
                sleep(RETRY_PAUSE).await;
            }
        }
    };
    let attending = persister.attend();
    let never: Infallible = tokio::select! {
        never = following => never,
        never = attending => never,
    };
    match never {}
}

/// Reads the present, then follows the changes, until one of them asks for a new beginning.
async fn follow_once(persister: &Persister, client: &Client) -> Result<()> {
    let id = persister.id;
    let mut status = client.status();
    let connection = status.borrow_and_update().generation();
    let now = client.rev().await?;
    let watermark = client.get(&keys::watermark(id), None).await?;
    let owner = client.get(&keys::owner(id), None).await?;
    let cluster = client.get(keys::IDENTITY, None).await?;
    if status.borrow().generation() != connection {
        return Ok(());
    }
    let present = Present {
        connection,
        watermark: watermark.as_ref().and_then(published),
        owner: owner.map(|owner| owner.revision.into()),
        cluster: cluster.map(|cluster| cluster.value),
    };
    let source = persister.begin(Instant::now(), present);
    let glob = match source {
        Source::Watermark => keys::about(id),
        _ => format!("{}/**", keys::directory(id)),
    };
    let mut events = client.watch(&glob, now.next());
    if source == Source::Mirror {
        for path in persister.paths() {
            read_mirror(persister, client, &path).await?;
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
                if take(persister, &event, source).await == Next::Anew {
                    return Ok(());
                }
            }
            () = replaced(&mut status, connection) => return Ok(()),
            () = persister.suspected() => return Ok(()),
        }
    }
}

/// Reads what the mirror of a path shows now.
pub(crate) async fn read_mirror(persister: &Persister, client: &Client, path: &str) -> Result<()> {
    let now = client.rev().await?;
    let key = keys::mirror(persister.id, path);
    let file = client.get(&key, Some(now)).await?;
    let shown = file.as_ref().and_then(published);
    persister.observe(path, now.into(), shown, Observed::State);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Go on with the next event.
    Event,
    /// Read the present again, and follow what it says is to be followed.
    Anew,
}

async fn take(persister: &Persister, event: &Event, source: Source) -> Next {
    let now = Instant::now();
    persister.heard(now);
    if event.path == keys::watermark(persister.id) {
        return take_watermark(persister, event, source).await;
    }
    if event.path == keys::owner(persister.id) {
        match event.kind {
            EventKind::Set => persister.beat(now, event.revision.into()),
            EventKind::Delete => persister.released(now),
            EventKind::Nop => {}
        }
    } else {
        take_mirror(persister, event);
    }
    Next::Event
}

async fn take_watermark(persister: &Persister, event: &Event, source: Source) -> Next {
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
            persister = persister.id,
            key = event.path,
            "the watermark is no revision; it is passed over"
        );
        return Next::Event;
    };
    persister.raise(watermark).await;
    // A watermark that moves is all that has to be followed.
    if source == Source::Mirror {
        Next::Anew
    } else {
        Next::Event
    }
}

fn take_mirror(persister: &Persister, event: &Event) {
    let Some(path) = keys::mirrored(persister.id, &event.path) else {
        return;
    };
    let shown = match event.kind {
        EventKind::Set => match number(&event.value) {
            Some(shown) => Some(shown),
            // Not a value of the protocol. It must not be taken for a deletion.
            None => return,
        },
        EventKind::Delete => None,
        EventKind::Nop => return,
    };
    persister.observe(path, event.revision.into(), shown, Observed::Change);
}

/// Ends when the client's connection is another than `connection`.
pub(crate) async fn replaced(status: &mut watch::Receiver<cairn_client::Status>, connection: u64) {
    let replaced = status
        .wait_for(|status| status.generation() != connection)
        .await
        .is_ok();
    if !replaced {
        // The session is over: the other branches of the `select!` are about to end with an error.
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
}
