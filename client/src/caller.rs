//! Calls on a session, for the client's methods and its streams.
//!
//! Puts requests into the session's queue, waits for their outcomes, and turns failures into
//! errors.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::time::timeout;

use crate::answer;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::queue::{Call, Cancelled, Class, Failure};
use crate::revision::Revision;
use crate::session::Shared;
use crate::status::Status;
use crate::wire::{Request, Response, Verb};

/// The most bytes that a tag and its field add to a request.
const TAG_LEN: usize = 6;

/// A handle of a session. Cheap to clone; the session ends with the last one.
#[derive(Clone)]
pub(crate) struct Caller {
    handle: Arc<Handle>,
}

/// Ends the session when the last caller drops it.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.end(&Failure::Closed);
    }
}

impl Caller {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared().options
    }

    /// Puts a request into the queue.
    pub(crate) fn submit(&self, verb: Verb, request: Request, class: Class) -> Result<Call> {
        self.submit_in(None, verb, request, class)
    }

    fn submit_in(
        &self,
        history: Option<u64>,
        verb: Verb,
        mut request: Request,
        class: Class,
    ) -> Result<Call> {
        request.verb = Some(verb as i32);
        let length = request.encoded_len();
        let max = self.options().max_frame;
        if length + TAG_LEN > max {
            return Err(Error::TooLarge {
                verb,
                path: request.path.unwrap_or_default(),
                length: length + TAG_LEN,
                max,
            });
        }
        Ok(self
            .shared()
            .queue
            .submit_in(history, verb, request, length, class))
    }

    /// The number of the history that revisions are counted in now.
    pub(crate) fn history(&self) -> u64 {
        self.shared().queue.history()
    }

    /// Waits for a revision of this history.
    pub(crate) fn submit_wait(&self, history: u64, glob: &str, from: Revision) -> Result<Call> {
        let request = Request {
            path: Some(glob.to_owned()),
            rev: Some(from.0),
            ..Request::default()
        };
        self.submit_in(Some(history), Verb::Wait, request, Class::Blocking)
    }

    /// Waits for a revision of this history, and asks for all that there are by then.
    pub(crate) fn submit_follow(&self, history: u64, from: Revision) -> Result<Call> {
        let request = Request {
            rev: Some(from.0),
            ..Request::default()
        };
        self.submit_in(Some(history), Verb::Follow, request, Class::Blocking)
    }

    /// A request about a path, without a deadline if it is about a certain revision.
    pub(crate) async fn read(
        &self,
        verb: Verb,
        path: &str,
        at: Option<Revision>,
    ) -> Result<Response> {
        let request = Request {
            path: Some(path.to_owned()),
            rev: at.map(|at| at.0),
            ..Request::default()
        };
        if at.is_none() {
            return self.prompt(verb, path, request).await;
        }
        let outcome = self.submit(verb, request, Class::Blocking)?.await;
        self.understand(verb, path, outcome)
    }

    /// Submits a request at once; its answer is to be awaited. `path`: the one in its errors.
    pub(crate) fn prompt<'a>(
        &'a self,
        verb: Verb,
        path: &'a str,
        request: Request,
    ) -> impl Future<Output = Result<Response>> + 'a {
        let call = self.submit(verb, request, Class::Prompt);
        // Apart from the request: a future is moved, and should be small.
        async move { self.within_deadline(verb, path, call?).await }
    }

    /// The newest revision that the node knows.
    pub(crate) async fn rev(&self) -> Result<Revision> {
        let response = self.prompt(Verb::Rev, "", Request::default()).await?;
        answer::revision(Verb::Rev, "", &response)
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

    /// The error of a request that was not answered in time.
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

    /// Turns a failure into an error.
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
            Err(Failure::WentBack(back)) => Err(Error::WentBack {
                verb,
                path: path(),
                address: back.address,
                newest: back.newest,
                seen: back.seen,
            }),
            Err(Failure::Closed) => Err(Error::Closed { verb, path: path() }),
        }
    }
}
