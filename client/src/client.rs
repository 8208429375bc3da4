//! The client: one method a verb.

use bytes::Bytes;

use crate::wire::Verb;
use crate::{Error, Event, File, Listing, Options, Result, Revision, Stat, Uri, Walk, Watch};

/// A connection to a cluster, cheap to clone; many requests may be in flight at once.
#[derive(Clone, Debug)]
pub struct Client {}

fn absent<T>(verb: Verb, path: &str) -> Result<T> {
    Err(Error::Protocol {
        verb,
        path: path.to_owned(),
        detail: "not built yet".to_owned(),
    })
}

impl Client {
    /// Connects with the default options.
    pub async fn connect(uri: &Uri) -> Result<Self> {
        Self::connect_with(uri, Options::default()).await
    }

    /// Connects.
    pub async fn connect_with(uri: &Uri, options: Options) -> Result<Self> {
        drop((uri.clone(), options));
        absent(Verb::Rev, "")
    }

    /// Reads a file, now or at a revision; `None`: there is no such file.
    pub async fn get(&self, path: &str, at: Option<Revision>) -> Result<Option<File>> {
        let _ = at;
        absent(Verb::Get, path)
    }

    /// Writes a file if its revision is not newer than `rev`.
    pub async fn set(
        &self,
        path: &str,
        rev: Revision,
        value: impl Into<Bytes>,
    ) -> Result<Revision> {
        drop((rev, value.into()));
        absent(Verb::Set, path)
    }

    /// Deletes a file if its revision is not newer than `rev`.
    pub async fn del(&self, path: &str, rev: Revision) -> Result<()> {
        let _ = rev;
        absent(Verb::Del, path)
    }

    /// The newest revision.
    pub async fn rev(&self) -> Result<Revision> {
        absent(Verb::Rev, "")
    }

    /// Consumes a revision.
    pub async fn nop(&self) -> Result<()> {
        absent(Verb::Nop, "")
    }

    /// The node's own name.
    pub async fn self_name(&self) -> Result<Bytes> {
        absent(Verb::Self_, "")
    }

    /// What is at a path.
    pub async fn stat(&self, path: &str, at: Option<Revision>) -> Result<Stat> {
        let _ = at;
        absent(Verb::Stat, path)
    }

    /// The first event at or after `from` whose path matches.
    pub async fn wait(&self, glob: &str, from: Revision) -> Result<Event> {
        let _ = from;
        absent(Verb::Wait, glob)
    }

    /// Presents a secret.
    pub async fn access(&self, secret: &[u8]) -> Result<()> {
        let _ = secret;
        absent(Verb::Access, "")
    }

    /// All events from `from` on whose path matches.
    pub fn watch(&self, glob: &str, from: Revision) -> Watch {
        let _ = (glob, from);
        Watch {}
    }

    /// All files whose path matches.
    pub fn walk(&self, glob: &str, at: Option<Revision>) -> Walk {
        let _ = (glob, at);
        Walk {}
    }

    /// All names in a directory.
    pub fn getdir(&self, path: &str, at: Option<Revision>) -> Listing {
        let _ = (path, at);
        Listing {}
    }
}
