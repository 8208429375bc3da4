//! The doozer protocol as a [`Cluster`].

pub mod embedded;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use cairn_client::{self as client, Client, EventKind, Options, Uri};
use cairn_journal::{Change, Revision};
use cairn_protocol::{keys, progress};
use futures::stream::{BoxStream, StreamExt};
use futures::{Stream, TryStreamExt};

use crate::cluster::{
    Cluster, Control, ControlKey, Error, Expect, Followed, Id, Limits, Live, Result, Session,
    Touched,
};

/// How many WAITs the follower keeps in flight. Each revision costs one, so this bounds the
/// revisions that can arrive in one round trip.
const FOLLOW_WINDOW: usize = 1024;

/// How many entries of a listing are asked for ahead: a listing is a request an entry.
const LIST_WINDOW: usize = 256;

/// The longest value that a node takes; a longer one would leave its SET hanging for ever.
const NODE_VALUE_BYTES: usize = 2_900;

/// The same of `doozer-lite`.
const LITE_VALUE_BYTES: usize = 1 << 20;

/// A doozer cluster, known by its URI.
#[derive(Clone, Debug)]
pub struct Doozer {
    uri: Uri,
    id: Id,
    /// How many sessions were opened.
    opened: Arc<AtomicUsize>,
}

impl Doozer {
    /// The cluster at `uri`, for the persister `id`: whose owner key a follower reports.
    #[must_use]
    pub fn new(uri: Uri, id: Id) -> Self {
        Self {
            uri,
            id,
            opened: Arc::default(),
        }
    }
}

impl Cluster for Doozer {
    type Session = DoozerSession;

    async fn open(&self) -> Result<DoozerSession> {
        let options = Options {
            watch_window: FOLLOW_WINDOW,
            list_window: LIST_WINDOW,
            reconnect: false,
            // Each session begins with the next node. A node may let us in and take no writes; whoever
            // began with the first one every time would come back to it for ever.
            first_address: self.opened.fetch_add(1, Ordering::Relaxed),
            ..Options::default()
        };
        let client = Client::connect_with(&self.uri, options)
            .await
            .map_err(said)?;
        Ok(DoozerSession {
            client,
            id: self.id,
        })
    }
}

/// A connection to one doozer node.
#[derive(Clone, Debug)]
pub struct DoozerSession {
    client: Client,
    id: Id,
}

impl Session for DoozerSession {
    fn sending_by(&self, by: Instant) -> Self {
        Self {
            client: self.client.sending_by(by),
            id: self.id,
        }
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(ours(self.client.rev().await.map_err(said)?))
    }

    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
        let id = self.id;
        Follow(
            self.client
                .watch("/**", theirs(from))
                .map(move |event| Ok(followed(id, event.map_err(said)?)))
                .boxed(),
        )
    }

    fn snapshot(&self, _at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        self.client
            // Pinned by the client to the node's newest revision, which is not before `at`, and to a
            // newer one whenever that is about to be forgotten.
            .walk("/**", None)
            .map_err(said)
            .try_filter(|file| std::future::ready(!keys::is_internal(&file.path)))
            .map_ok(|file| Live {
                path: file.path.into(),
                revision: ours(file.revision),
                value: file.value,
            })
            .boxed()
    }

    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static {
        self.client
            .walk(&format!("{}/**", keys::directory(id)), None)
            .map_err(said)
            .try_filter_map(move |file| {
                let path = keys::mirrored(id, &file.path).map(|path| path.to_owned().into());
                let revision = progress::parse_revision(&file.value).ok().map(Revision);
                std::future::ready(Ok(path.map(|path| (path, revision))))
            })
            .boxed()
    }

    async fn read(&self, key: &ControlKey) -> Result<Option<Control>> {
        let file = self.client.get(&name(key)?, None).await.map_err(said)?;
        Ok(file.map(|file| Control {
            revision: ours(file.revision),
            value: file.value,
        }))
    }

    async fn write(&self, key: &ControlKey, expect: Expect, value: Bytes) -> Result<Revision> {
        let name = name(key)?;
        let written = self.client.set(&name, precondition(expect), value).await;
        Ok(ours(written.map_err(said)?))
    }

    async fn delete(&self, key: &ControlKey, expect: Expect) -> Result<()> {
        let name = name(key)?;
        let deleted = self.client.del(&name, precondition(expect)).await;
        deleted.map_err(said)
    }

    async fn limits(&self) -> Result<Limits> {
        let mut versions = self.client.walk("/ctl/node/*/version", None);
        let mut lite = None;
        while let Some(version) = versions.try_next().await.map_err(said)? {
            lite = Some(lite != Some(false) && version.value.starts_with(b"doozer-lite"));
        }
        Ok(match lite {
            Some(true) => Limits {
                max_value_bytes: LITE_VALUE_BYTES,
                in_order: true,
            },
            _ => Limits {
                max_value_bytes: NODE_VALUE_BYTES,
                in_order: false,
            },
        })
    }

    fn is_control(path: &[u8]) -> bool {
        std::str::from_utf8(path).is_ok_and(keys::is_internal)
    }

    fn why_not(path: &[u8]) -> Option<&'static str> {
        match std::str::from_utf8(path) {
            Ok(path) if path != "/" && client::path::is_valid(path) => None,
            _ => Some("is no path in a doozer cluster (letters, digits, '.', '-' between slashes)"),
        }
    }

    async fn put(&self, path: &Bytes, expect: Expect, value: Bytes) -> Result<Revision> {
        let put = self.client.set(text(path)?, precondition(expect), value);
        Ok(ours(put.await.map_err(said)?))
    }

    async fn remove(&self, path: &Bytes, expect: Expect) -> Result<()> {
        let removed = self.client.del(text(path)?, precondition(expect));
        removed.await.map_err(said)
    }

    async fn advance(&self) -> Result<()> {
        self.client.nop().await.map_err(said)
    }
}

/// The follower's stream: ends after its first error.
struct Follow(BoxStream<'static, Result<Followed>>);

impl Stream for Follow {
    type Item = Result<Followed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

/// What an event means to a persister.
fn followed(id: Id, event: client::Event) -> Followed {
    let revision = ours(event.revision);
    let value = match event.kind {
        EventKind::Set => Some(event.value),
        EventKind::Delete => None,
        EventKind::Nop => {
            return Followed {
                revision,
                changes: Vec::new(),
                touched: None,
            };
        }
    };
    if keys::is_internal(&event.path) {
        let touched = if event.path == keys::IDENTITY {
            Some(Touched::Identity(value))
        } else if event.path == keys::owner(id) {
            Some(Touched::Owner(id, value))
        } else {
            None
        };
        return Followed {
            revision,
            changes: Vec::new(),
            touched,
        };
    }
    let change = match value {
        Some(value) => Change::set(event.path, value),
        None => Change::delete(event.path),
    };
    Followed {
        revision,
        changes: vec![change],
        touched: None,
    }
}

/// The name of a control key in a doozer cluster.
fn name(key: &ControlKey) -> Result<String> {
    Ok(match key {
        ControlKey::Identity => keys::IDENTITY.to_owned(),
        ControlKey::Owner(id) => keys::owner(*id),
        ControlKey::Watermark(id) => keys::watermark(*id),
        ControlKey::Mirrored(id) => keys::mirror_progress(*id),
        ControlKey::Mirror(id, path) => keys::mirror(*id, text(path)?),
    })
}

fn text(path: &Bytes) -> Result<&str> {
    let valid = std::str::from_utf8(path)
        .ok()
        .filter(|path| client::path::is_valid(path));
    valid.ok_or_else(|| {
        Error::Refused(format!(
            "{:?} cannot be a path in a doozer cluster (letters, digits, '.', '-' between slashes)",
            String::from_utf8_lossy(path)
        ))
    })
}

fn precondition(expect: Expect) -> client::Revision {
    match expect {
        Expect::Any => client::Revision::ANY,
        Expect::Absent => client::Revision::MISSING,
        Expect::At(revision) => theirs(revision),
    }
}

fn ours(revision: client::Revision) -> Revision {
    Revision(revision.0)
}

fn theirs(revision: Revision) -> client::Revision {
    client::Revision(revision.0)
}

/// What an error of the client means to a persister.
fn said(error: client::Error) -> Error {
    use client::ErrorCode;
    match error.code() {
        Some(ErrorCode::RevMismatch) => Error::Conflict,
        Some(ErrorCode::TooLate) => Error::HistoryDiscarded,
        // Another node may take writes, and a session of ours is over when it cannot write.
        Some(ErrorCode::ReadOnly) => Error::Unavailable(error.to_string()),
        Some(_) => Error::Refused(error.to_string()),
        // Timeouts, lost connections and nonsense: this session is not to be relied on any more.
        None => match error {
            client::Error::TooLarge { .. } | client::Error::Uri(_) => {
                Error::Refused(error.to_string())
            }
            _ => Error::Unavailable(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(path: &str, kind: EventKind) -> client::Event {
        client::Event {
            revision: client::Revision(7),
            path: path.to_owned(),
            value: Bytes::from_static(b"v"),
            kind,
        }
    }

    #[test]
    fn only_what_is_outside_the_control_area_is_a_change() {
        for (path, kind, changes) in [
            ("/a", EventKind::Set, 1),
            ("/a", EventKind::Delete, 1),
            ("/ctlfoo", EventKind::Set, 1),
            ("/ctl/err", EventKind::Set, 0),
            ("/ctl", EventKind::Delete, 0),
            ("/ctl/persistence/1/a", EventKind::Set, 0),
            ("/", EventKind::Nop, 0),
        ] {
            let followed = followed(1, event(path, kind));
            assert_eq!(followed.changes.len(), changes, "{path} {kind:?}");
            assert_eq!(followed.touched, None);
            assert_eq!(followed.revision, Revision(7));
        }
    }

    #[test]
    fn the_keys_that_decide_over_our_life_are_reported() {
        let v = || Some(Bytes::from_static(b"v"));
        for (path, kind, touched) in [
            (
                keys::IDENTITY.to_owned(),
                EventKind::Set,
                Some(Touched::Identity(v())),
            ),
            (
                keys::IDENTITY.to_owned(),
                EventKind::Delete,
                Some(Touched::Identity(None)),
            ),
            (keys::owner(3), EventKind::Set, Some(Touched::Owner(3, v()))),
            (keys::owner(4), EventKind::Set, None),
            (keys::watermark(3), EventKind::Set, None),
        ] {
            assert_eq!(followed(3, event(&path, kind)).touched, touched, "{path}");
        }
    }
}
