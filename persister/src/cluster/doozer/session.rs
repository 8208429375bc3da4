//! One connection to a doozer node as a [`Session`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_client::{self as client, Client};
use cairn_journal::Revision;
use cairn_protocol::owner::{HEARTBEAT, STALE_AFTER};
use cairn_protocol::{keys, progress};
use futures::stream::{self, BoxStream, StreamExt};
use futures::{Stream, TryStreamExt};
use tokio::sync::OnceCell;

use crate::cluster::capabilities::{Capabilities, Guard, Limits, Liveness, Restores};
use crate::cluster::control::{Announcements, Control, ControlKey, Id};
use crate::cluster::doozer::event::followed;
use crate::cluster::doozer::names::{name, precondition, text};
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

/// What a node takes of path and value together. It sends both in one packet of 3,000 bytes, with
/// the revision and some 30 bytes of its own; a longer write would never return, and would keep the
/// node from deciding anything else.
const NODE_WRITE_BYTES: usize = 2_950;

/// The shortest path of a file.
const SHORTEST_PATH: usize = "/x".len();

/// What a node takes.
const NODE_LIMITS: Limits = Limits {
    value_bytes: NODE_WRITE_BYTES - SHORTEST_PATH,
    most_value_bytes: NODE_WRITE_BYTES - SHORTEST_PATH,
    key_bytes: NODE_WRITE_BYTES,
    key_names: MOST_NAMES,
    revision_bytes: NODE_WRITE_BYTES,
    in_order: false,
};

/// The names that a path has at most, in a node as in `doozer-lite`.
const MOST_NAMES: usize = 256;

/// What `doozer-lite` takes, if it was told to take values of this length.
pub(in crate::cluster) const fn lite_limits(value_bytes: usize) -> Limits {
    Limits {
        value_bytes,
        most_value_bytes: LITE_VALUE_BYTES,
        key_bytes: 4_096,
        key_names: MOST_NAMES,
        // One write, and its path.
        revision_bytes: 2 * LITE_VALUE_BYTES,
        in_order: true,
    }
}

/// The longest value that `doozer-lite` takes.
const LITE_VALUE_BYTES: usize = 1 << 20;

/// A connection to one doozer node.
#[derive(Clone, Debug)]
pub struct DoozerSession {
    client: Client,
    id: Id,
    /// Whether all nodes are `doozer-lite`, once that was asked.
    is_lite: Arc<OnceCell<bool>>,
}

impl DoozerSession {
    pub(super) fn new(client: Client, id: Id) -> Self {
        Self {
            client,
            id,
            is_lite: Arc::default(),
        }
    }

    /// Whether all nodes say that they are `doozer-lite`: no real node does.
    async fn is_lite(&self) -> Result<bool> {
        let is_lite = self.is_lite.get_or_try_init(|| async {
            let mut nodes = self.client.getdir(NODES, None);
            let mut is_lite = None;
            while let Some(node) = absent_is_empty(nodes.try_next().await)? {
                let version = self
                    .client
                    .get(&format!("{NODES}/{node}/version"), None)
                    .await?;
                let version = version.map(|version| version.value).unwrap_or_default();
                is_lite = Some(is_lite != Some(false) && version.starts_with(b"doozer-lite"));
            }
            Ok::<_, Error>(is_lite == Some(true))
        });
        is_lite.await.copied()
    }

    /// All events from a revision on: by the extension for them where every node has it.
    async fn events(
        self,
        from: client::Revision,
    ) -> Result<BoxStream<'static, Result<client::Event>>> {
        Ok(match self.is_lite().await? {
            true => self.client.follow(from).err_into().boxed(),
            false => self.client.watch("/**", from).err_into().boxed(),
        })
    }

    /// The files below a directory. A real node walks its whole tree for each entry of a WALK, so
    /// it is asked directory by directory.
    fn files(
        &self,
        directory: &str,
        without: Option<&'static str>,
    ) -> BoxStream<'static, Result<client::Event>> {
        let files = self.clone().begin_files(directory.to_owned(), without);
        stream::once(files).try_flatten().boxed()
    }

    async fn begin_files(
        self,
        directory: String,
        without: Option<&'static str>,
    ) -> Result<BoxStream<'static, Result<client::Event>>> {
        if self.is_lite().await? {
            let glob = format!("{}/**", directory.trim_end_matches('/'));
            // Pinned by the client to the node's newest revision, and to a newer one whenever that
            // is about to be forgotten.
            return Ok(self.client.walk(&glob, None).err_into().boxed());
        }
        let tree = match without {
            Some(without) => self.client.tree_without(&directory, without, None),
            None => self.client.tree(&directory, None),
        };
        let files = tree.try_filter_map(|entry| async move {
            Ok(match entry {
                client::Entry::File(file) => Some(file),
                client::Entry::Directory(_) => None,
            })
        });
        Ok(files.err_into().boxed())
    }

    /// Refuses a write that would never return.
    async fn fits(&self, verb: &str, path: &str, value_bytes: usize) -> Result<()> {
        let bytes = path.len() + value_bytes;
        if bytes <= NODE_WRITE_BYTES || self.is_lite().await? {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{verb} {path}: path and value have {bytes} bytes, and a node of this cluster takes \
             {NODE_WRITE_BYTES} in one packet: it was not sent, because it would never return"
        )))
    }
}

/// The directory of what nodes say of themselves.
const NODES: &str = "/ctl/node";

/// A directory that does not exist has no entries.
fn absent_is_empty<T>(next: client::Result<Option<T>>) -> Result<Option<T>> {
    match next {
        Err(error) if error.code() == Some(client::ErrorCode::NoEnt) => Ok(None),
        next => Ok(next?),
    }
}

/// What a cluster of doozer can do over the wire.
pub const CAPABILITIES: Capabilities = Capabilities {
    writes_per_revision: 1,
    guard: Guard::Key,
    liveness: Liveness::Rewritten {
        every: HEARTBEAT,
        stale_after: STALE_AFTER,
    },
    may_roll_back: false,
    tells_control: false,
    tells_leases: false,
    mirrors_paths: true,
    loads: false,
    holds_back: false,
    restores: Restores::Writes,
    leases: false,
};

impl Session for DoozerSession {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn rules(&self) -> KeyRules {
        RULES
    }

    async fn limits(&self) -> Result<Limits> {
        Ok(if self.is_lite().await? {
            lite_limits(LITE_VALUE_BYTES)
        } else {
            NODE_LIMITS
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
        let events = stream::once(self.clone().events(client::Revision(from.0)));
        let events = events.try_flatten();
        Follow(events.map_ok(move |event| followed(id, event)).boxed())
    }

    fn snapshot(&self, _at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        self.files("/", Some(keys::INTERNAL))
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
        self.files(&keys::directory(id), None)
            .try_filter_map(move |file| {
                let path = keys::mirrored(id, &file.path).map(|path| path.to_owned().into());
                let revision = progress::parse_revision(&file.value).ok().map(Revision);
                std::future::ready(Ok(path.map(|path| (path, revision))))
            })
            .boxed()
    }

    async fn announcements(&self) -> Result<Announcements> {
        let mut names = self.client.getdir(keys::ROOT, None);
        let mut all: Announcements = BTreeMap::new();
        while let Some(name) = absent_is_empty(names.try_next().await)? {
            let Ok(id) = name.parse() else {
                continue;
            };
            let keys = [
                ControlKey::Owner(id),
                ControlKey::Watermark(id),
                ControlKey::Mirrored(id),
            ];
            let [owner, watermark, mirrored] = keys.each_ref().map(|key| self.read(key));
            let (owner, watermark, mirrored) = tokio::try_join!(owner, watermark, mirrored)?;
            if owner.is_some() || watermark.is_some() || mirrored.is_some() {
                let said = all.entry(id).or_default();
                (said.owner, said.watermark, said.mirrored) = (owner, watermark, mirrored);
            }
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
                self.fits("SET", path, value.len()).await?;
                let set = self.client.set(path, expect, value.clone()).await?;
                Ok(Some(Revision(set.0)))
            }
            None => {
                self.fits("DEL", path, 0).await?;
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
