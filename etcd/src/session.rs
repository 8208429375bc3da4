//! One connection to one member, and what can be asked of it.

use std::sync::Arc;

use futures::channel::mpsc;
use tonic::Streaming;

use crate::auth::Auth;
use crate::config::endpoint::Endpoint;
use crate::config::secret::User;
use crate::config::tls::Tls;
use crate::connection::dial::dial;
use crate::connection::link::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::snapshot::Snapshot;
use crate::watch::Watch;
use crate::wire::call::Call;
use crate::wire::cluster::MemberListRequest;
use crate::wire::kv::ResponseHeader;
use crate::wire::lease::KEEP_ALIVE_PATH;
use crate::wire::lease::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use crate::wire::maintenance::{StatusRequest, StatusResponse};
use crate::wire::watch::WatchCreateRequest;

/// One connection to one member. Clones share it.
///
/// **It never reconnects.** When the connection has ended, every call fails, for ever, with an
/// error that [is unavailable](Error::is_unavailable).
///
/// **It answers in time.** Every call ends by [`Options::request_timeout`]. A member that is silent
/// to everything ends the session, and with it all watches, after [`field@Options::keepalive`] and
/// [`Options::keepalive_timeout`] together.
///
/// **It sends each write once.** The one thing that it tries again is a call that the member turned
/// away for its token, and only with a fresh one.
#[derive(Clone, Debug)]
pub struct Session {
    link: Link,
    auth: Arc<Auth>,
    cluster_id: u64,
    member_id: u64,
    version: Option<Arc<str>>,
}

impl Session {
    /// Connects to one endpoint; the member there must have a leader and a vote.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Tls>,
        user: Option<User>,
        options: &Arc<Options>,
    ) -> Result<Self> {
        let link = dial(endpoint, tls, options).await?;
        let auth = Arc::new(Auth::new(user));
        let first = async {
            auth.refresh(&link, None).await?;
            introduction(&link, &auth).await
        };
        let told = match tokio::time::timeout(options.connect_timeout, first).await {
            Ok(told) => told?,
            Err(_) => {
                let after = options.connect_timeout;
                let detail = format!("no first answer within {after:?}");
                return Err(link.error("connect", ErrorKind::Timeout, detail));
            }
        };
        let unfit = |detail| link.error("connect", ErrorKind::Unavailable, detail);
        match (told.unfit, told.header) {
            (Some(fault), _) if options.require_leader => Err(unfit(fault)),
            (_, None) => Err(unfit("the member does not say who it is")),
            (_, Some(header)) => Ok(Self {
                link,
                auth,
                cluster_id: header.cluster_id,
                member_id: header.member_id,
                version: told.version,
            }),
        }
    }

    /// Where the member is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.link.endpoint()
    }

    /// The cluster's number. A cluster that was wiped and started with the same flags has the same.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The member's number.
    #[must_use]
    pub fn member_id(&self) -> u64 {
        self.member_id
    }

    /// The version of the member's server, such as `3.4.23`; 3.5.28 to 3.5.30 and some of 3.6 tell
    /// it to root alone.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Sends one request and waits for its answer: what it asks for is told by its type.
    ///
    /// # Errors
    /// [`Error`], which says whether a write may have happened in spite of it.
    pub async fn call<R: Call>(&self, request: R) -> Result<R::Response> {
        let attempt = |token| {
            let request = request.clone();
            async move { self.link.call(request, Option::as_ref(&token)).await }
        };
        self.auth
            .with_token(&self.link, Error::is_token_lost, attempt)
            .await
    }

    /// Begins a watch. Fragments are asked for, whatever `create` says.
    ///
    /// # Errors
    /// The member's. That the first revision is forgotten is said by the watch's first item.
    pub async fn watch(&self, create: WatchCreateRequest) -> Result<Watch> {
        // Servers before 3.5 answer a lost token and a missing right in the same words.
        let is_lost =
            |error: &Error| error.is_token_lost() || error.kind() == ErrorKind::PermissionDenied;
        let attempt = |token| Watch::open(&self.link, create.clone(), token);
        self.auth.with_token(&self.link, is_lost, attempt).await
    }

    /// Begins to read the member's database. Where users are, this takes the right of root.
    ///
    /// # Errors
    /// The member's, here or at the first part.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let attempt = |token| Snapshot::open(&self.link, token);
        self.auth
            .with_token(&self.link, Error::is_token_lost, attempt)
            .await
    }

    /// Gives a lease its whole time again; says how long that is in seconds, or `None` if there is
    /// no such lease.
    ///
    /// # Errors
    /// The member's.
    pub async fn keep_alive(&self, id: i64) -> Result<Option<i64>> {
        const NAME: &str = "LeaseKeepAlive";
        let attempt = |token| async move {
            let (mut requests, receiver) = mpsc::channel(1);
            requests
                .try_send(LeaseKeepAliveRequest { id })
                .map_err(|error| {
                    self.link
                        .error(NAME, ErrorKind::Unavailable, error.to_string())
                })?;
            let answer = self.link.within(NAME, async {
                let token = Option::as_ref(&token);
                let stream = self.link.stream(NAME, KEEP_ALIVE_PATH, receiver, token);
                let mut answers: Streaming<LeaseKeepAliveResponse> = stream.await?;
                let answer = answers.message().await;
                answer.map_err(|status| self.link.failed(NAME, &status))
            });
            let answer = answer.await?;
            drop(requests); // they end only now, so that the member does not end the answers
            answer.ok_or_else(|| {
                let detail = "the member did not answer";
                self.link.error(NAME, ErrorKind::Unavailable, detail)
            })
        };
        let kept = self
            .auth
            .with_token(&self.link, Error::is_token_lost, attempt);
        Ok(Some(kept.await?.ttl).filter(|ttl| *ttl > 0))
    }

    /// An error that says that the answer to a call makes no sense. What was asked for may have
    /// happened.
    #[must_use]
    pub fn misbehaved<R: Call>(&self, detail: &str) -> Error {
        let error = self.link.error(R::NAME, ErrorKind::Protocol, detail);
        error.or_happened(true)
    }

    /// Ends the session: all calls and watches fail from now on, those of clones, too.
    pub fn close(&self, reason: &str) {
        self.link
            .end()
            .end(&format!("the session was closed: {reason}"));
    }

    /// Waits until the session has ended.
    pub async fn ended(&self) {
        self.link.end().ended().await;
    }
}

/// What a member says about itself at first.
struct Introduction {
    header: Option<ResponseHeader>,
    version: Option<Arc<str>>,
    /// Why a session with this member would be of no use.
    unfit: Option<&'static str>,
}

/// Asks a member about itself.
async fn introduction(link: &Link, auth: &Auth) -> Result<Introduction> {
    let token = auth.token();
    match link.call(StatusRequest {}, token.as_ref()).await {
        Ok(status) => Ok(Introduction {
            unfit: unfit(&status),
            header: status.header,
            version: Some(status.version.into()),
        }),
        // Some versions tell it to root alone. Every user may ask for the members, and only a
        // member with a leader and a vote answers that.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let linearizable = true;
            let members = link.call(MemberListRequest { linearizable }, token.as_ref());
            Ok(Introduction {
                header: members.await?.header,
                version: None,
                unfit: None,
            })
        }
        Err(error) => Err(error),
    }
}

/// Why a session with this member would be of no use.
fn unfit(status: &StatusResponse) -> Option<&'static str> {
    if status.leader == 0 {
        Some("the member knows no leader")
    } else if status.is_learner {
        Some("the member has no vote yet")
    } else {
        None
    }
}
