//! The channel of `etcd_client`: writes go to the sync client, and every other call goes on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use cairn_etcd::wire::{
    AuthenticateRequest, Call, DeleteRangeRequest, LeaseRevokeRequest, PutRequest, TxnRequest,
};
use cairn_etcd::{Secret, User};
use cairn_sync_client::etcd::{Client as SyncClient, Result};
use etcd_client::BalancedChannelBuilder;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc::Sender;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::transport::channel::Change;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _};

use crate::error::status;

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What writes, once it is connected; until then, who logs in.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    client: OnceLock<SyncClient>,
    user: Mutex<Option<User>>,
}

impl Writer {
    /// From here on, writes are done by this client. The first one stays.
    pub(crate) fn is(&self, client: SyncClient) {
        self.client.get_or_init(|| client);
        self.take_user();
    }

    /// Who has logged in through the channel. Options hold it, and cannot be read.
    pub(crate) fn take_user(&self) -> Option<User> {
        let mut user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        user.take()
    }

    fn logs_in(&self, request: AuthenticateRequest) {
        if self.client.get().is_none() {
            let user = User {
                name: request.name,
                password: Secret::new(request.password),
            };
            *self.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(user);
        }
    }
}

/// Makes the channel of a client.
pub(crate) struct Builder(pub(crate) Arc<Writer>);

impl BalancedChannelBuilder for Builder {
    type Error = tonic::transport::Error;

    fn balanced_channel(
        self,
        buffer: usize,
    ) -> Result<(etcd_client::Channel, Sender<Change<Uri, Endpoint>>), Self::Error> {
        let (others, endpoints) = tonic::transport::Channel::balance_channel(buffer);
        let channel = Channel {
            writer: self.0,
            others,
        };
        let channel = etcd_client::Channel::Custom(BoxCloneSyncService::new(channel));
        Ok((channel, endpoints))
    }
}

/// Sends the calls of a client.
#[derive(Clone)]
struct Channel {
    writer: Arc<Writer>,
    others: tonic::transport::Channel,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call waits for its own turn.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Channel {
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let path = request.uri().path();
        if path == AuthenticateRequest::PATH {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            self.writer.logs_in(message(&body)?);
            let request = Request::from_parts(head, Body::new(Full::new(body)));
            return Ok(self.others.oneshot(request).await?);
        }
        match path {
            PutRequest::PATH => self.write(request, async |it, put| it.put(put).await).await,
            DeleteRangeRequest::PATH => {
                let delete = async |it: SyncClient, delete| it.delete(delete).await;
                self.write(request, delete).await
            }
            TxnRequest::PATH => self.write(request, async |it, txn| it.txn(txn).await).await,
            LeaseRevokeRequest::PATH => {
                let revoke =
                    async |it: SyncClient, lease: LeaseRevokeRequest| it.revoke(lease.id).await;
                self.write(request, revoke).await
            }
            _ => Ok(self.others.oneshot(request).await?),
        }
    }

    /// Has the sync client do a write, and answers what it answers.
    async fn write<C: Call, F: Future<Output = Result<C::Response>>>(
        self,
        request: Request<Body>,
        write: impl FnOnce(SyncClient, C) -> F,
    ) -> Result<Response<Body>, BoxError> {
        let body = request.into_body().collect().await?.to_bytes();
        let asked = message::<C>(&body)?;
        let client = self.writer.client.get().cloned();
        let client = client.ok_or_else(|| Status::unavailable("not connected yet"))?;
        match write(client, asked).await {
            Ok(answer) => Ok(answered(&answer)),
            // As it is, so that its source comes to the caller.
            Err(error) => Err(status(error).into()),
        }
    }
}

/// The message of a call that has one. Nothing in it is lost: what is not known here is refused.
fn message<C: Call>(body: &Bytes) -> Result<C, Status> {
    let refused = |why: &str| {
        let call = C::NAME;
        Status::unimplemented(format!("{call} was not sent: {why}"))
    };
    let mut rest = body.clone();
    if rest.len() < PREFIX {
        return Err(refused("it has no message"));
    }
    let (compressed, length) = (rest.get_u8() != 0, rest.get_u32());
    if compressed || usize::try_from(length) != Ok(rest.len()) {
        return Err(refused("it is not one plain message"));
    }
    let length = rest.len();
    let message = C::decode(rest).map_err(|error| refused(&error.to_string()))?;
    if message.encoded_len() != length {
        return Err(refused("a part of it is not known to this version"));
    }
    Ok(message)
}

/// A call's good end.
fn answered(answer: &impl prost::Message) -> Response<Body> {
    let length = answer.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("an answer is limited to less than 4 GiB"));
    answer.encode(&mut frame).expect("a buffer grows");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let grpc = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, grpc);
    response
}
