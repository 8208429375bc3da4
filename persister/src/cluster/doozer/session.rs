//! One connection to a doozer node as a [`Session`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_client::{self as client, Client};
use cairn_journal::Revision;
use cairn_protocol::owner::{HEARTBEAT, STALE_AFTER};
use cairn_protocol::{keys, progress};
use futures::stream::{BoxStream, StreamExt};
use futures::{Stream, TryStreamExt};

use crate::cluster::capabilities::{Capabilities, Guard, Limits, Liveness};
use crate::cluster::control::{Announcements, Control, ControlKey, Id};
use crate::cluster::doozer::event::followed;
use crate::cluster::doozer::names::{id_of, name, precondition, text};
use crate::cluster::error::{Error, Result};
use crate::cluster::followed::{Attributes, Followed, Live};
use crate::cluster::rules::{KeyRules, Names};
use crate::cluster::session::Session;
use crate::cluster::write::{Key, Write};

/// Keys are paths of files; `/ctl` and what is below it are the cluster's own affair.
pub const RULES: KeyRules = KeyRules::tree(
    Names {
        check: |path| client::path::validate(path).map_err(|error| error.to_string()),
        expected: "is no path in a doozer cluster (letters, digits, '.', '-' between slashes)",
    },
    keys::INTERNAL,
);

/// How many WAITs the follower keeps in flight. Each revision costs one, so this bounds the
/// revisions that can arrive in one round trip. They are fewer where values are large
/// ([`Options::watch_bytes`](client::Options::watch_bytes)); until a burst of large values is
/// noticed, so many of the longest that a node takes may be in memory: 256 MiB.
pub(super) const FOLLOW_WINDOW: usize = 256;

/// How many entries of a listing are asked for ahead: a listing is a request an entry.
pub(super) const LIST_WINDOW: usize = 256;

/// The longest value that a node takes; a longer one would leave its SET hanging for ever.
const NODE_VALUE_BYTES: usize = 2_900;

/// The longest value that `doozer-lite` takes.
const LITE_VALUE_BYTES: usize = 1 << 20;

/// A connection to one doozer node.
#[derive(Clone, Debug)]
pub struct DoozerSession {
    client: Client,
    id: Id,
}

impl DoozerSession {
    pub(super) fn new(client: Client, id: Id) -> Self {
        Self { client, id }
    }
}

impl Session for DoozerSession {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes_per_revision: 1,
            guard: Guard::Key,
            liveness: Liveness::Rewritten {
                every: HEARTBEAT,
                stale_after: STALE_AFTER,
            },
            may_roll_back: false,
            tells_control: false,
            mirrors_paths: true,
            loads: false,
            holds_back: false,
        }
    }

    fn rules(&self) -> KeyRules {
        RULES
    }

    async fn limits(&self) -> Result<Limits> {
        let mut versions = self.client.walk("/ctl/node/*/version", None);
        let mut lite = None;
        while let Some(version) = versions.try_next().await? {
            lite = Some(lite != Some(false) && version.value.starts_with(b"doozer-lite"));
        }
        let in_order = lite == Some(true);
        let value_bytes = if in_order {
            LITE_VALUE_BYTES
        } else {
            NODE_VALUE_BYTES
        };
        Ok(Limits {
            value_bytes,
            // One write, and its path.
            revision_bytes: 2 * value_bytes,
            in_order,
        })
    }

    /// SET and DEL compare the revision of their own file and nothing else.
    fn fenced(&self, _identity: &Bytes) -> Self {
        self.clone()
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(Revision(self.client.rev().await?.0))
    }

    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
        let id = self.id;
        Follow(
            self.client
                .watch("/**", client::Revision(from.0))
                .map(move |event| Ok(followed(id, event?)))
                .boxed(),
        )
    }

    fn snapshot(&self, _at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        self.client
            // Pinned by the client to the node's newest revision, which is not before `at`, and to
            // a newer one whenever that is about to be forgotten.
            .walk("/**", None)
            .err_into()
            .try_filter(|file| std::future::ready(!keys::is_internal(&file.path)))
            .map_ok(|file| Live {
                path: file.path.into(),
                revision: Revision(file.revision.0),
                value: file.value,
                attributes: Attributes::default(),
            })
            .boxed()
    }

    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static {
        self.client
            .walk(&format!("{}/**", keys::directory(id)), None)
            .err_into()
            .try_filter_map(move |file| {
                let path = keys::mirrored(id, &file.path).map(|path| path.to_owned().into());
                let revision = progress::parse_revision(&file.value).ok().map(Revision);
                std::future::ready(Ok(path.map(|path| (path, revision))))
            })
            .boxed()
    }

    async fn announcements(&self) -> Result<Announcements> {
        let glob = format!("{}/*/ctl/*", keys::ROOT);
        let mut files = self.client.walk(&glob, None);
        let mut all: Announcements = BTreeMap::new();
        while let Some(file) = files.try_next().await? {
            let Some(id) = id_of(&file.path) else {
                continue;
            };
            let said = all.entry(id).or_default();
            let place = match file.path {
                path if path == keys::owner(id) => &mut said.owner,
                path if path == keys::watermark(id) => &mut said.watermark,
                path if path == keys::mirror_progress(id) => &mut said.mirrored,
                _ => continue,
            };
            *place = Some(Control {
                revision: Revision(file.revision.0),
                value: file.value,
            });
        }
        Ok(all)
    }

    async fn read(&self, key: &ControlKey) -> Result<Option<Control>> {
        let file = self.client.get(&name(key)?, None).await?;
        Ok(file.map(|file| Control {
            revision: Revision(file.revision.0),
            value: file.value,
        }))
    }

    async fn apply(&self, writes: &[Write]) -> Result<Option<Revision>> {
        let [write] = writes else {
            return Err(Error::Refused(format!(
                "a doozer cluster changes one key a revision, not {}",
                writes.len()
            )));
        };
        let control;
        let path = match &write.key {
            Key::Control(key) => {
                control = name(key)?;
                &control
            }
            Key::Data(path) => text(path)?,
        };
        let expect = precondition(write.expect);
        match &write.value {
            Some(value) => {
                let set = self.client.set(path, expect, value.clone()).await?;
                Ok(Some(Revision(set.0)))
            }
            None => {
                self.client.del(path, expect).await?;
                // The answer to DEL carries no revision.
                Ok(None)
            }
        }
    }

    async fn advance(&self) -> Result<()> {
        Ok(self.client.nop().await?)
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
