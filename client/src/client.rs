//! The client: one method a verb.

use std::fmt;

use bytes::Bytes;
use tokio::sync::watch;

use crate::answer::{self, Event, File, Stat};
use crate::boot;
use crate::caller::Caller;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::follow::Follow;
use crate::glob::Glob;
use crate::listing::{Listing, Walk};
use crate::options::Options;
use crate::path;
use crate::revision::Revision;
use crate::status::Status;
use crate::tree::Tree;
use crate::uri::{Secret, Uri};
use crate::watch::Watch;
use crate::wire::{Request, Verb};

/// A client of one cluster. Cheap to clone; any number of requests may be in flight at once, over
/// one connection.
///
/// - Requests go onto the wire in the order in which the futures of these methods are first
///   polled. A server may still work on them side by side: to order two writes, await the first.
/// - A future that is dropped cancels its request. A request that was sent already may still
///   happen.
/// - When the connection breaks, another is made, to another node if there is one. Requests that
///   were not sent, and reads, carry on there, within their deadline. A write of which it is not
///   known whether it happened is never sent again: its error says so
///   ([`Error::may_have_happened`]).
/// - A node that does not take writes is left for another one, if there is one.
/// - The connection ends when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Client {
    caller: Caller,
}

// Neither secrets nor waiting requests are anything to print.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("status", &*self.caller.shared().status.borrow())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a cluster, with the default [`Options`].
    ///
    /// Every address is tried once, in order; if none lets the client in, this fails. Later, a
    /// lost connection is replaced without anyone having to ask.
    ///
    /// # Errors
    /// As [`Client::connect_with`].
    pub async fn connect(uri: &Uri) -> Result<Self> {
        Self::connect_with(uri, Options::default()).await
    }

    /// Connects to a cluster.
    ///
    /// # Errors
    /// [`Error::Connect`] says of each address why it failed; [`Error::Uri`] that there is none to
    /// be tried; [`Error::Server`] that a secret was refused.
    pub async fn connect_with(uri: &Uri, options: Options) -> Result<Self> {
        let caller = boot::connect(uri, options).await?;
        Ok(Self { caller })
    }

    /// The state of the connection, and notice of every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.caller.shared().status.subscribe()
    }

    /// The number of connections that the client has made: [`Status::generation`], for those who
    /// ask often and want no notice.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.caller.shared().status.borrow().generation()
    }

    /// From the next connection on, only talks to nodes on which the file at `path` has this
    /// value, so that a client never carries on in a cluster that took the place of its own.
    ///
    /// A node without the file is passed over, since it may lag behind. Once a node has another
    /// value there, or all nodes have none, every call fails with [`Error::ClusterChanged`].
    pub fn require(&self, path: &str, value: impl Into<Bytes>) {
        self.caller.shared().require(path.to_owned(), value.into());
    }

    /// Reads a file; `None`: there is no such file. With a revision, reads what was there at that
    /// revision, and waits for it, without a deadline, if it is yet to come.
    ///
    /// # Errors
    /// Any error of a read, see [`Error`]; [`Error::is_too_late`] if the cluster has discarded that
    /// revision. A read that failed has changed nothing.
    pub async fn get(&self, path: &str, at: Option<Revision>) -> Result<Option<File>> {
        let response = self.caller.read(Verb::Get, path, at).await?;
        answer::file(path, response)
    }

    /// Writes a file, and returns the revision of that. The file must exist no newer than `rev`;
    /// [`Revision::MISSING`]: it must not exist; [`Revision::ANY`]: whatever there is.
    ///
    /// # Errors
    /// [`Error::is_rev_mismatch`] if the file is newer than `rev`; [`Error::InvalidPath`] and
    /// [`Error::TooLarge`] before anything is sent. Of any other [`Error::may_have_happened`] says
    /// whether the file may have been written all the same.
    pub async fn set(
        &self,
        path: &str,
        rev: Revision,
        value: impl Into<Bytes>,
    ) -> Result<Revision> {
        path::validate(path)?;
        let request = Request {
            path: Some(path.to_owned()),
            value: Some(value.into()),
            rev: Some(rev.0),
            ..Request::default()
        };
        let response = self.caller.prompt(Verb::Set, path, request).await?;
        answer::revision(Verb::Set, path, &response)
    }

    /// Deletes a file, under the same condition as [`Client::set`]. A file that does not exist
    /// is deleted with success, and the cluster counts that as a change.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn del(&self, path: &str, rev: Revision) -> Result<()> {
        path::validate(path)?;
        let request = Request {
            path: Some(path.to_owned()),
            rev: Some(rev.0),
            ..Request::default()
        };
        self.caller.prompt(Verb::Del, path, request).await.map(drop)
    }

    /// The newest revision that the node knows.
    ///
    /// # Errors
    /// Any error of a read, see [`Error`].
    pub async fn rev(&self) -> Result<Revision> {
        self.caller.rev().await
    }

    /// Consumes a revision and changes nothing.
    ///
    /// # Errors
    /// As a write may end, see [`Error`]; a revision may have been consumed all the same.
    pub async fn nop(&self) -> Result<()> {
        self.caller
            .prompt(Verb::Nop, "", Request::default())
            .await
            .map(drop)
    }

    /// The name of the node that the client is connected to.
    ///
    /// # Errors
    /// Any error of a read, see [`Error`].
    pub async fn self_name(&self) -> Result<Bytes> {
        let response = self
            .caller
            .prompt(Verb::Self_, "", Request::default())
            .await?;
        Ok(response.value.unwrap_or_default())
    }

    /// Tells what is at a path, now or at a revision, which is waited for as in [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stat(&self, path: &str, at: Option<Revision>) -> Result<Stat> {
        let response = self.caller.read(Verb::Stat, path, at).await?;
        answer::stat(path, &response)
    }

    /// The first event at or after `from` whose path matches. Waits for it without a deadline,
    /// also while there is no connection; drop the future to give up.
    ///
    /// The server is not told of that, since the protocol cannot: its answer, if it ever comes,
    /// is thrown away. For more than one event use [`Client::watch`].
    ///
    /// # Errors
    /// [`Error::InvalidGlob`] before anything is sent; [`Error::is_too_late`] if the cluster has
    /// forgotten what happened at `from`; [`Error::WentBack`] if the cluster was reset meanwhile.
    pub async fn wait(&self, glob: &str, from: Revision) -> Result<Event> {
        glob.parse::<Glob>()?;
        let history = self.caller.history();
        let outcome = self.caller.submit_wait(history, glob, from)?.await;
        let response = self.caller.understand(Verb::Wait, glob, outcome)?;
        answer::event(Verb::Wait, glob, response)
    }

    /// Presents a secret, now and on every later connection.
    ///
    /// # Errors
    /// [`Error::Server`] if the secret is refused.
    pub async fn access(&self, secret: &[u8]) -> Result<()> {
        let secret = Secret::new(Bytes::copy_from_slice(secret));
        let request = Request {
            value: Some(secret.expose().clone()),
            ..Request::default()
        };
        self.caller.prompt(Verb::Access, "", request).await?;
        self.caller.shared().remember_secret(secret);
        Ok(())
    }

    /// All events at or after `from` whose path matches, in order and without gaps.
    #[must_use]
    pub fn watch(&self, glob: &str, from: Revision) -> Watch {
        Watch::new(self.caller.clone(), glob, from)
    }

    /// All events at or after `from`, in order and without gaps, many to an answer. Only
    /// `doozer-lite` and the embedded node can do that (the value of `/ctl/node/NAME/version` of
    /// the node called [`self_name`](Client::self_name) begins with `doozer-lite`): others end the
    /// stream with [`ErrorCode::UnknownVerb`](crate::ErrorCode::UnknownVerb).
    #[must_use]
    pub fn follow(&self, from: Revision) -> Follow {
        Follow::new(self.caller.clone(), from)
    }

    /// All files whose path matches, in the server's order, at one revision.
    ///
    /// Without `at` that is the newest one. If the server discards its history before the
    /// listing is complete, it goes on with what is there by then, after the last path that was
    /// returned: no path comes twice, and none is left out that was there all the time. With
    /// `at` the stream ends with an error then ([`Error::is_too_late`]).
    #[must_use]
    pub fn walk(&self, glob: &str, at: Option<Revision>) -> Walk {
        Walk::new(self.caller.clone(), glob, at)
    }

    /// What is at `path` and below it: each directory, then what is in it, in the server's order;
    /// nothing, if nothing is there. Costs a real node far less than [`Client::walk`], which it
    /// answers by walking its whole tree for each file.
    ///
    /// With `at`, all of it is as of that revision, and the stream ends with an error once the
    /// server discards that. Without, each file is as of some moment since the call: none comes
    /// twice, and none is left out that was there all the time.
    #[must_use]
    pub fn tree(&self, path: &str, at: Option<Revision>) -> Tree {
        Tree::new(self.caller.clone(), path, None, at)
    }

    /// As [`Client::tree`], and neither reads nor returns what is at `without` and below it.
    #[must_use]
    pub fn tree_without(&self, path: &str, without: &str, at: Option<Revision>) -> Tree {
        Tree::new(self.caller.clone(), path, Some(without), at)
    }

    /// All names in a directory, in order; for `at` see [`Client::walk`].
    #[must_use]
    pub fn getdir(&self, path: &str, at: Option<Revision>) -> Listing {
        Listing::new(self.caller.clone(), path, at)
    }
}
