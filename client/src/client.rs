//! The client: one method a verb.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::queue::{Call, Cancelled, Class, Failure};
use crate::session::{self, Shared};
use crate::wire::{Request, Response, Verb};
use crate::{
    Error, ErrorCode, Event, File, Listing, Options, Result, Revision, Secret, Stat, Status, Uri,
    Walk, Watch, answer, path,
};

/// What a tag and its field need at most, on top of a request without one.
const TAG_LEN: usize = 6;

/// A client of one cluster. Cheap to clone; any number of requests may be in flight at once, over
/// one connection.
///
/// - Requests go onto the wire in the order in which the futures of these methods are first
///   polled. A server may still work on them side by side: to order two writes, await the first.
/// - A future that is dropped cancels its request. What was sent already may still happen.
/// - When the connection breaks, another is made, to another node if there is one. Requests that
///   were not sent, and reads, carry on there, within their deadline. A write of which it is not
///   known whether it happened is never sent again: its error says so
///   ([`Error::may_have_happened`]).
/// - A node that does not take writes is left for another one, if there is one.
/// - The connection ends when the last clone and the last stream are dropped.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
    /// When requests become stale.
    send_by: Option<Instant>,
}

// Neither secrets nor waiting requests are anything to print.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("status", &*self.shared().status.borrow())
            .finish_non_exhaustive()
    }
}

/// Ends the session when the last client drops it.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.end(&Failure::Closed);
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
    /// [`Error::Connect`] says of each address why it failed; [`Error::Uri`] that there is none to be tried;
    /// [`Error::Server`] that a secret was refused.
    pub async fn connect_with(uri: &Uri, options: Options) -> Result<Self> {
        let shared = session::open(uri, options).await?;
        let handle = Arc::new(Handle { shared });
        Ok(Self {
            handle,
            send_by: None,
        })
    }

    /// The same client, of which no request is sent after `by`, however long the process is stopped
    /// meanwhile: for writes that rest on something which was true for certain until shortly before.
    ///
    /// What has been handed to the operating system by then counts as sent. Of the rest, what waits fails with
    /// [`Error::Stale`]; what has a place in the stream of bytes already can only be taken out of it with
    /// all that follows, so that the connection ends.
    #[must_use]
    pub fn sending_by(&self, by: Instant) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            send_by: Some(by),
        }
    }

    /// The state of the connection, and notice of every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared().status.subscribe()
    }

    /// From the next connection on, only talks to nodes on which the file at `path` has this
    /// value, so that a client never carries on in a cluster that took the place of its own.
    ///
    /// A node without the file is passed over, since it may lag behind. Once a node has another
    /// value there, or all nodes have none, every call fails with [`Error::ClusterChanged`].
    pub fn require(&self, path: &str, value: impl Into<Bytes>) {
        self.shared().require(path.to_owned(), value.into());
    }

    /// Reads a file; `None`: there is no such file. With a revision, reads what was there at that
    /// revision, and waits for it, without a deadline, if it is yet to come.
    ///
    /// # Errors
    /// Whatever can befall a read, see [`Error`]; [`Error::is_too_late`] if the cluster has forgotten what was
    /// at that revision. A read that failed has changed nothing.
    pub async fn get(&self, path: &str, at: Option<Revision>) -> Result<Option<File>> {
        let request = Request {
            path: Some(path.to_owned()),
            rev: at.map(|at| at.0),
            ..Request::default()
        };
        let response = self.read(Verb::Get, request, at).await?;
        answer::file(path, response)
    }

    /// Writes a file, and returns the revision of that. The file must exist no newer than `rev`;
    /// [`Revision::MISSING`]: it must not exist; [`Revision::ANY`]: whatever there is.
    ///
    /// # Errors
    /// [`Error::is_rev_mismatch`] if the file is newer than `rev`; [`Error::InvalidPath`] and
    /// [`Error::TooLarge`] before anything is sent. Of any other [`Error::may_have_happened`] says whether the
    /// file may have been written all the same.
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
        let response = self.prompt(Verb::Set, request).await?;
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
        self.prompt(Verb::Del, request).await.map(drop)
    }

    /// The newest revision that the node knows.
    ///
    /// # Errors
    /// Whatever can befall a read, see [`Error`].
    pub async fn rev(&self) -> Result<Revision> {
        let response = self.prompt(Verb::Rev, Request::default()).await?;
        answer::revision(Verb::Rev, "", &response)
    }

    /// Consumes a revision and changes nothing.
    ///
    /// # Errors
    /// As a write may end, see [`Error`]; a revision may have been consumed all the same.
    pub async fn nop(&self) -> Result<()> {
        self.prompt(Verb::Nop, Request::default()).await.map(drop)
    }

    /// The name of the node that the client is connected to.
    ///
    /// # Errors
    /// Whatever can befall a read, see [`Error`].
    pub async fn self_name(&self) -> Result<Bytes> {
        let response = self.prompt(Verb::Self_, Request::default()).await?;
        Ok(response.value.unwrap_or_default())
    }

    /// What is at a path, now or at a revision, which is waited for as in [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stat(&self, path: &str, at: Option<Revision>) -> Result<Stat> {
        let request = Request {
            path: Some(path.to_owned()),
            rev: at.map(|at| at.0),
            ..Request::default()
        };
        let response = self.read(Verb::Stat, request, at).await?;
        answer::stat(path, &response)
    }

    /// The first event at or after `from` whose path matches. Waits for it without a deadline,
    /// also while there is no connection; drop the future to give up.
    ///
    /// The server is not told of that, since the protocol cannot: its answer, if it ever comes,
    /// is thrown away. For more than one event use [`Client::watch`].
    ///
    /// # Errors
    /// [`Error::InvalidGlob`] before anything is sent; [`Error::is_too_late`] if the cluster has forgotten what
    /// happened at `from`.
    pub async fn wait(&self, glob: &str, from: Revision) -> Result<Event> {
        glob.parse::<crate::glob::Glob>()?;
        let outcome = self.submit_wait(glob, from)?.await;
        let response = self.understand(Verb::Wait, glob, outcome)?;
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
        self.prompt(Verb::Access, request).await?;
        self.shared().remember_secret(secret);
        Ok(())
    }

    /// All events at or after `from` whose path matches, in order and without gaps.
    #[must_use]
    pub fn watch(&self, glob: &str, from: Revision) -> Watch {
        Watch::new(self.clone(), glob, from)
    }

    /// All files whose path matches, in the server's order, at one revision.
    ///
    /// Without `at` that is the newest one. If the server discards its history before the
    /// listing is complete, it goes on with what is there by then, after the last path that was
    /// returned: no path comes twice, and none is left out that was there all the time. With
    /// `at` the stream ends with an error then ([`Error::is_too_late`]).
    #[must_use]
    pub fn walk(&self, glob: &str, at: Option<Revision>) -> Walk {
        Walk::new(self.clone(), glob, at)
    }

    /// All names in a directory, in order; for `at` see [`Client::walk`].
    #[must_use]
    pub fn getdir(&self, path: &str, at: Option<Revision>) -> Listing {
        Listing::new(self.clone(), path, at)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared().options
    }

    /// Puts a request into the queue.
    pub(crate) fn submit(&self, verb: Verb, mut request: Request, class: Class) -> Result<Call> {
        request.verb = Some(verb as i32);
        let length = request.encoded_len() + TAG_LEN;
        let max = self.options().max_frame;
        if length > max {
            return Err(Error::TooLarge {
                verb,
                path: request.path.unwrap_or_default(),
                length,
                max,
            });
        }
        Ok(self
            .shared()
            .queue
            .submit(verb, request, class, self.send_by))
    }

    pub(crate) fn submit_wait(&self, glob: &str, from: Revision) -> Result<Call> {
        let request = Request {
            path: Some(glob.to_owned()),
            rev: Some(from.0),
            ..Request::default()
        };
        self.submit(Verb::Wait, request, Class::Blocking)
    }

    /// A request without a deadline if it is about a certain revision.
    async fn read(&self, verb: Verb, request: Request, at: Option<Revision>) -> Result<Response> {
        if at.is_none() {
            return self.prompt(verb, request).await;
        }
        let path = request.path.clone().unwrap_or_default();
        let outcome = self.submit(verb, request, Class::Blocking)?.await;
        self.understand(verb, &path, outcome)
    }

    async fn prompt(&self, verb: Verb, request: Request) -> Result<Response> {
        let path = request.path.clone().unwrap_or_default();
        let call = self.submit(verb, request, Class::Prompt)?;
        self.within_deadline(verb, &path, call).await
    }

    /// Waits for an answer as long as a request may take.
    pub(crate) async fn within_deadline(
        &self,
        verb: Verb,
        path: &str,
        mut call: Call,
    ) -> Result<Response> {
        let after = self.options().request_timeout;
        match timeout(after, &mut call).await {
            Ok(outcome) => self.understand(verb, path, outcome),
            Err(_) => Err(self.overdue(verb, path, after, call.cancel())),
        }
    }

    /// What became of a request that was not answered in time.
    fn overdue(&self, verb: Verb, path: &str, after: Duration, cancelled: Cancelled) -> Error {
        if cancelled == Cancelled::Unsent
            && let Status::Disconnected { attempts, .. } = &*self.shared().status.borrow()
        {
            return Error::Connect {
                attempts: attempts.clone(),
            };
        }
        Error::Timeout {
            verb,
            path: path.to_owned(),
            after,
            sent: cancelled == Cancelled::Sent,
        }
    }

    /// Makes an error of an outcome that is one.
    pub(crate) fn understand(
        &self,
        verb: Verb,
        path: &str,
        outcome: Result<Response, Failure>,
    ) -> Result<Response> {
        let path = || path.to_owned();
        match outcome {
            Ok(Response {
                err_code: Some(code),
                err_detail,
                ..
            }) => Err(Error::Server {
                verb,
                path: path(),
                code: ErrorCode::from(code),
                detail: err_detail.unwrap_or_default(),
            }),
            Ok(response) => Ok(response),
            Err(Failure::Lost { address, cause }) => Err(Error::ConnectionLost {
                verb,
                path: path(),
                address,
                cause,
                sent: true,
            }),
            Err(Failure::Changed(changed)) => Err(Error::ClusterChanged {
                path: changed.path,
                expected: changed.expected,
                found: changed.found,
            }),
            Err(Failure::Closed) => Err(Error::Closed { verb, path: path() }),
            Err(Failure::Stale) => Err(Error::Stale { verb, path: path() }),
        }
    }
}
