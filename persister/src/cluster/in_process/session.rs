//! The contract of a session, fulfilled by calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_client as client;
use cairn_journal::Revision;
use cairn_lite::store::{Event, EventKind, Pattern, Refusal};
use cairn_lite::{Feed, GuardedBy, Local, LocalError, Server};
use cairn_protocol::{keys, progress};
use futures::{Stream, TryStreamExt};

use crate::cluster::capabilities::{Capabilities, Guard, Limits};
use crate::cluster::control::{Announcements, Control, ControlKey, Id};
use crate::cluster::doozer::event::{Effect, revision_of};
use crate::cluster::doozer::names::{id_of, name, precondition, text};
use crate::cluster::doozer::session::{CAPABILITIES, RULES, lite_limits};
use crate::cluster::error::{Conflict, Error, Result};
use crate::cluster::followed::{Attributes, Followed, Live};
use crate::cluster::in_process::listing::list;
use crate::cluster::rules::KeyRules;
use crate::cluster::session::Session;
use crate::cluster::write::{Key, Write};

/// A session with the node of this process.
#[derive(Clone, Debug)]
pub struct InProcessSession {
    node: Server,
    local: Local,
    id: Id,
    fence: Option<Bytes>,
}

impl InProcessSession {
    pub(super) fn new(node: Server, id: Id) -> Self {
        Self {
            local: node.local(),
            node,
            id,
            fence: None,
        }
    }

    fn guard(&self) -> GuardedBy<'_> {
        self.fence
            .as_ref()
            .map(|value| (keys::IDENTITY, &value[..]))
    }
}

impl Session for InProcessSession {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guard: Guard::Identity,
            loads: true,
            holds_back: true,
            ..CAPABILITIES
        }
    }

    fn rules(&self) -> KeyRules {
        RULES
    }

    async fn limits(&self) -> Result<Limits> {
        Ok(lite_limits(self.local.max_value()))
    }

    fn fenced(&self, identity: &Bytes) -> Self {
        Self {
            fence: Some(identity.clone()),
            ..self.clone()
        }
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(Revision(self.local.revision()?.0))
    }

    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
        Follow {
            feed: Some(self.local.follow(client::Revision(from.0))),
            id: self.id,
        }
    }

    fn snapshot(&self, _at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        let state = self.local.state().map_err(Error::from);
        let files = list(state, pattern("/**"));
        files
            .try_filter(|file| std::future::ready(!keys::is_internal(&file.path)))
            .map_ok(|file| Live {
                path: Bytes::copy_from_slice(file.path.as_bytes()),
                revision: Revision(file.revision.0),
                value: file.value.clone(),
                attributes: Attributes::default(),
            })
    }

    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static {
        let state = self.local.state().map_err(Error::from);
        let files = list(state, pattern(&format!("{}/**", keys::directory(id))));
        files.try_filter_map(move |file| {
            let path = keys::mirrored(id, &file.path);
            let path = path.map(|path| Bytes::copy_from_slice(path.as_bytes()));
            let revision = progress::parse_revision(&file.value).ok().map(Revision);
            std::future::ready(Ok(path.map(|path| (path, revision))))
        })
    }

    async fn announcements(&self) -> Result<Announcements> {
        let state = self.local.state().map_err(Error::from);
        let glob = format!("{}/*/ctl/*", keys::ROOT);
        let mut files = list(state, pattern(&glob));
        let mut all = Announcements::new();
        while let Some(file) = files.try_next().await? {
            if let Some(id) = id_of(&file.path) {
                let place = match &*file.path {
                    path if path == keys::owner(id) => &mut all.entry(id).or_default().owner,
                    path if path == keys::watermark(id) => {
                        &mut all.entry(id).or_default().watermark
                    }
                    path if path == keys::mirror_progress(id) => {
                        &mut all.entry(id).or_default().mirrored
                    }
                    _ => continue,
                };
                *place = Some(control(&file));
            }
        }
        Ok(all)
    }

    async fn read(&self, key: &ControlKey) -> Result<Option<Control>> {
        let file = self.local.get(&name(key)?)?;
        Ok(file.map(|file| control(&file)))
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
        let (expect, guard) = (precondition(write.expect), self.guard());
        let at = match &write.value {
            Some(value) => Some(self.local.set(path, expect, value.clone(), guard)?),
            None => self.local.del(path, expect, guard)?,
        };
        Ok(at.map(|at| Revision(at.0)))
    }

    async fn advance(&self) -> Result<()> {
        self.local.nop()?;
        Ok(())
    }

    fn load(&self, state: impl IntoIterator<Item = Live>, at: Revision) -> Result<()> {
        let files = state.into_iter().map(|live| {
            // A path that is no text names no file; the node refuses what it is made into.
            let path = String::from_utf8_lossy(&live.path).into_owned();
            (path, client::Revision(live.revision.0), live.value)
        });
        self.node
            .load(files, client::Revision(at.0))
            .map_err(|error| Error::Refused(format!("{error:#}")))
    }
}

/// The follower's stream: ends after its first error.
struct Follow {
    feed: Option<std::result::Result<Feed, LocalError>>,
    id: Id,
}

impl Stream for Follow {
    type Item = Result<Followed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = match &mut self.feed {
            None => return Poll::Ready(None),
            Some(Ok(feed)) => std::task::ready!(feed.poll_next(context)),
            Some(Err(error)) => Err(error.clone()),
        };
        let item = match event {
            Ok(event) => Ok(followed(self.id, &event)),
            Err(error) => {
                self.feed = None;
                Err(error.into())
            }
        };
        Poll::Ready(Some(item))
    }
}

fn followed(id: Id, event: &Arc<Event>) -> Followed {
    let effect = match event.kind {
        EventKind::Set => Effect::Set(event.value.clone()),
        EventKind::Delete => Effect::Delete,
        EventKind::Nop => Effect::Nothing,
    };
    let path = (*event.path).to_owned();
    revision_of(id, Revision(event.revision.0), path, effect)
}

fn control(file: &Event) -> Control {
    Control {
        revision: Revision(file.revision.0),
        value: file.value.clone(),
    }
}

fn pattern(glob: &str) -> Pattern {
    Pattern::parse(glob).expect("our own globs are globs")
}

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::TooLate => Self::HistoryDiscarded,
            LocalError::Guarded => Self::Conflict(Conflict::Identity),
            LocalError::Refused(Refusal::RevMismatch) => Self::Conflict(Conflict::Key),
            LocalError::Ended | LocalError::ReadOnly => Self::Unavailable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}
