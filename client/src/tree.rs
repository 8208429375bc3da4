//! What is at a path and below it, read directory by directory.
//!
//! A real node walks its whole tree for each entry of a WALK. GETDIR names the entries of one
//! directory, and a GET for each says what it is: for a large tree that takes a fraction of the
//! time, and other clients do not notice. A few requests are in flight at a time.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, Fuse, Stream, StreamExt};

use crate::answer::{self, Event, EventKind, broken};
use crate::caller::Caller;
use crate::error::{Error, ErrorCode, Result};
use crate::listing::Listing;
use crate::revision::Revision;
use crate::wire::Verb;

/// Requests in flight: enough to hide a round trip, few enough to leave a node to others.
const IN_FLIGHT: usize = 16;

/// A path is never longer on a server that means well: a tree without end is not followed.
const PATH_BYTES_MAX: usize = 64 << 10;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file, as the event that set it last.
    File(Event),
    /// A directory, by its path; what is in it follows.
    Directory(String),
}

/// What is at a path and below it, from [`Client::tree`](crate::Client::tree).
pub struct Tree(BoxStream<'static, Result<Entry>>);

impl Tree {
    /// `without`: a path of which nothing is to be read.
    pub(crate) fn new(
        caller: Caller,
        path: &str,
        without: Option<&str>,
        at: Option<Revision>,
    ) -> Self {
        let walk = Walk {
            caller,
            at,
            without: without.map(str::to_owned),
            root: Some(path.to_owned()),
            levels: Vec::new(),
            found: VecDeque::new(),
        };
        let entries = stream::try_unfold(walk, |mut walk| async move {
            Ok(walk.next().await?.map(|entry| (entry, walk)))
        });
        Self(entries.boxed())
    }
}

impl Stream for Tree {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// What a GET says of a path.
enum Found {
    File(Revision, Bytes),
    Directory,
}

/// A directory that is being read.
struct Level {
    /// Its path with a slash behind it.
    prefix: String,
    names: Fuse<Listing>,
    /// Entries that were looked at while a directory before them is being read.
    rest: VecDeque<(String, Found)>,
}

struct Walk {
    caller: Caller,
    at: Option<Revision>,
    without: Option<String>,
    /// Where to begin, until that has been looked at.
    root: Option<String>,
    levels: Vec<Level>,
    /// Looked at, and to be returned next.
    found: VecDeque<(String, Found)>,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Entry>> {
        if let Some(root) = self.root.take() {
            let found = look(&self.caller, &root, self.at).await?;
            self.found.extend(found.map(|found| (root, found)));
        }
        loop {
            if let Some((path, found)) = self.found.pop_front() {
                return Ok(Some(match found {
                    Found::File(revision, value) => Entry::File(Event {
                        revision,
                        path,
                        value,
                        kind: EventKind::Set,
                    }),
                    Found::Directory => {
                        self.enter(&path);
                        Entry::Directory(path)
                    }
                }));
            }
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let mut paths = Vec::new();
            while paths.len() < IN_FLIGHT {
                match level.names.next().await {
                    Some(Ok(name)) => {
                        let path = level.path_of(&name)?;
                        if self.without.as_ref() != Some(&path) {
                            paths.push(path);
                        }
                    }
                    Some(Err(error)) if !is_gone(&error) => return Err(error),
                    Some(Err(_)) | None => break,
                }
            }
            if paths.is_empty() {
                let level = self.levels.pop();
                self.found
                    .extend(level.into_iter().flat_map(|level| level.rest));
                continue;
            }
            let (caller, at) = (&self.caller, self.at);
            let looks = paths.into_iter().map(|path| async move {
                let found = look(caller, &path, at).await?;
                Ok::<_, Error>(found.map(|found| (path, found)))
            });
            let found = try_join_all(looks).await?;
            self.found.extend(found.into_iter().flatten());
        }
    }

    /// Begins with a directory; what was found behind it waits.
    fn enter(&mut self, path: &str) {
        let prefix = match path {
            "/" => "/".to_owned(),
            path => format!("{path}/"),
        };
        self.levels.push(Level {
            prefix,
            names: Listing::with_window(self.caller.clone(), path, self.at, IN_FLIGHT).fuse(),
            rest: std::mem::take(&mut self.found),
        });
    }
}

/// What is at a path; `None`: nothing, or nothing any more.
async fn look(caller: &Caller, path: &str, at: Option<Revision>) -> Result<Option<Found>> {
    match caller.read(Verb::Get, path, at).await {
        Ok(response) => {
            let file = answer::file(path, response)?;
            Ok(file.map(|file| Found::File(file.revision, file.value)))
        }
        Err(error) if error.code() == Some(ErrorCode::IsDir) => Ok(Some(Found::Directory)),
        Err(error) => Err(error),
    }
}

impl Level {
    fn path_of(&self, name: &str) -> Result<String> {
        let path = format!("{}{name}", self.prefix);
        if name.is_empty() || name.contains('/') || path.len() > PATH_BYTES_MAX {
            let start: String = name.chars().take(100).collect();
            let detail = format!("the directory has an entry that can be none: {start:?}");
            return Err(broken(Verb::Getdir, &self.prefix, detail));
        }
        Ok(path)
    }
}

/// The directory has gone, or has become a file, since it was found.
fn is_gone(error: &Error) -> bool {
    matches!(error.code(), Some(ErrorCode::NoEnt | ErrorCode::NotDir))
}
