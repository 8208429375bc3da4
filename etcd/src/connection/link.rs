//! Calls over one connection: a deadline for each, a bound on how many, an error that tells.

use std::fmt;
use std::sync::Arc;

use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status, Streaming};

use crate::config::endpoint::Endpoint;
use crate::connection::end::End;
use crate::connection::sender::Sender;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::wire::call::Call;
use crate::wire::codec::Codec;

/// What opens calls to a member that asks who we are.
pub(crate) type Token = MetadataValue<Ascii>;

/// One connection to one member. Clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    endpoint: Endpoint,
    grpc: Grpc<Sender>,
    turns: Arc<Semaphore>,
    end: End,
    options: Arc<Options>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.endpoint)
            .field("ended", &self.end.reason())
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(
        endpoint: &Endpoint,
        sender: Sender,
        end: End,
        options: Arc<Options>,
    ) -> Result<Self, http::uri::InvalidUri> {
        let grpc = Grpc::with_origin(sender, endpoint.to_string().parse()?)
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message);
        Ok(Self {
            endpoint: endpoint.clone(),
            grpc,
            turns: Arc::new(Semaphore::new(options.max_in_flight)),
            end,
            options,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn end(&self) -> &End {
        &self.end
    }

    /// An error of something that only reads, or was not sent.
    pub(crate) fn error(
        &self,
        call: &'static str,
        kind: ErrorKind,
        detail: impl Into<String>,
    ) -> Error {
        Error::nothing_done(call, &self.endpoint, kind, detail)
    }

    /// What the member or the connection said to something that only reads.
    pub(crate) fn failed(&self, call: &'static str, status: &Status) -> Error {
        // A closed session says why, instead of what that looks like from within.
        match self.end.reason() {
            Some(reason) if status.code() != tonic::Code::Ok => {
                let error = Error::of_status(call, &self.endpoint, status, false);
                match error.kind() {
                    ErrorKind::Unavailable => self.error(call, ErrorKind::Unavailable, &*reason),
                    _ => error,
                }
            }
            _ => Error::of_status(call, &self.endpoint, status, false),
        }
    }

    /// The deadline passed.
    pub(crate) fn late(&self, call: &'static str) -> Error {
        let after = self.options.request_timeout;
        self.error(
            call,
            ErrorKind::Timeout,
            format!("no answer within {after:?}"),
        )
    }

    /// An error if the connection has ended.
    fn living(&self, call: &'static str) -> Result<()> {
        match self.end.reason() {
            None => Ok(()),
            Some(reason) => Err(self.error(call, ErrorKind::Unavailable, &*reason)),
        }
    }

    fn request<T>(&self, message: T, token: Option<&Token>) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if self.options.require_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        if let Some(token) = token {
            metadata.insert("token", token.clone());
        }
        request
    }

    /// Sends one request, once, and waits for its answer until the deadline.
    pub(crate) async fn call<R: Call>(
        &self,
        request: R,
        token: Option<&Token>,
    ) -> Result<R::Response> {
        let writes = request.writes();
        self.living(R::NAME)?;
        let (length, most) = (request.encoded_len(), self.options.max_message);
        if length > most {
            let detail = format!("a request of {length} bytes is over the limit of {most} bytes");
            return Err(self.error(R::NAME, ErrorKind::TooLarge, detail));
        }
        let mut sent = false;
        let answered = tokio::time::timeout(self.options.request_timeout, async {
            let _turn = self.turns.acquire().await; // never closed
            let mut grpc = self.grpc.clone();
            if let Err(error) = grpc.ready().await {
                return Err(self.error(R::NAME, ErrorKind::Unavailable, error.to_string()));
            }
            let mut request = self.request(request, token);
            // So that the member gives up, too.
            request.set_timeout(self.options.request_timeout);
            sent = true;
            grpc.unary(
                request,
                PathAndQuery::from_static(R::PATH),
                Codec::default(),
            )
            .await
            .map_err(|status| Error::of_status(R::NAME, &self.endpoint, &status, writes))
        })
        .await;
        match answered {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(self.late(R::NAME).or_happened(writes && sent)),
        }
    }

    /// Begins a call whose requests and answers are streams. The caller sets the deadline.
    pub(crate) async fn stream<Q, A>(
        &self,
        call: &'static str,
        path: &'static str,
        requests: impl Stream<Item = Q> + Send + 'static,
        token: Option<&Token>,
    ) -> Result<Streaming<A>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.living(call)?;
        let mut grpc = self.grpc.clone();
        if let Err(error) = grpc.ready().await {
            return Err(self.error(call, ErrorKind::Unavailable, error.to_string()));
        }
        let request = self.request(requests, token);
        let answers = grpc.streaming(request, PathAndQuery::from_static(path), Codec::default());
        match answers.await {
            Ok(answers) => Ok(answers.into_inner()),
            Err(status) => Err(self.failed(call, &status)),
        }
    }

    /// Waits for `work` until the deadline.
    pub(crate) async fn within<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.options.request_timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(self.late(call)),
        }
    }
}
