//! A cluster: opens sessions, each with one member.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::endpoint::Endpoint;
use crate::config::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::session::Session;
use crate::wire::cluster::{MemberListRequest, MemberListResponse};

/// The most endpoints that are learned from a cluster.
const MAX_LEARNED: usize = 64;

/// A cluster. Clones share what they learn.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Target,
    options: Arc<Options>,
    /// The configured endpoint that is tried first, modulo their number.
    next: AtomicUsize,
    learned: Mutex<Learned>,
}

/// Where the members say that they are.
#[derive(Clone, Debug, Default)]
struct Learned {
    cluster_id: u64,
    endpoints: Vec<Endpoint>,
}

impl Cluster {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(target: Target, options: Options) -> Self {
        Self(Arc::new(Inner {
            target,
            options: Arc::new(options),
            next: AtomicUsize::new(0),
            learned: Mutex::default(),
        }))
    }

    /// Opens a session with a member that has a leader. Tries each endpoint at most once: those of
    /// the target first, beginning with another one each time, then those that members named
    /// earlier. A member that was only named must be of the cluster that named it.
    ///
    /// # Errors
    /// What each endpoint said, if there is no session with any.
    pub async fn open(&self) -> Result<Session> {
        let Inner { target, next, .. } = &*self.0;
        let mut turn = target.endpoints.clone();
        if !turn.is_empty() {
            let first = next.fetch_add(1, Ordering::Relaxed) % turn.len();
            turn.rotate_left(first);
        }
        let mut failures = Vec::new();
        for endpoint in &turn {
            match self.attempt(endpoint).await {
                Ok(session) => return Ok(session),
                Err(error) => failures.push(error),
            }
        }
        let learned = self.learned().clone();
        for endpoint in learned.endpoints.iter().filter(|e| !turn.contains(e)) {
            match self.attempt_of(endpoint, learned.cluster_id).await {
                Ok(session) => return Ok(session),
                Err(error) => failures.push(error),
            }
        }
        Err(none(failures))
    }

    async fn attempt(&self, endpoint: &Endpoint) -> Result<Session> {
        let Inner {
            target, options, ..
        } = &*self.0;
        let (tls, user) = (target.tls.as_ref(), target.user.clone());
        let session = Session::open(endpoint, tls, user, options).await?;
        match session.call(MemberListRequest::default()).await {
            Ok(members) => self.learn(session.cluster_id(), &members),
            // Only a fallback is missing.
            Err(error) => tracing::debug!(%error, "the members are not known"),
        }
        Ok(session)
    }

    /// A session with a member of this cluster. What a member advertises may lead elsewhere, such
    /// as to this machine.
    async fn attempt_of(&self, endpoint: &Endpoint, cluster_id: u64) -> Result<Session> {
        let Inner {
            target, options, ..
        } = &*self.0;
        let (tls, user) = (target.tls.as_ref(), target.user.clone());
        let session = Session::open(endpoint, tls, user, options).await?;
        if session.cluster_id() == cluster_id {
            return Ok(session);
        }
        Err(Error::nothing_done(
            "connect",
            endpoint,
            ErrorKind::Refused,
            "a member of another cluster than the one that named it",
        ))
    }

    /// Remembers where members say that they are. Without TLS only where some was configured
    /// without, so that no password leaves in the clear.
    fn learn(&self, cluster_id: u64, members: &MemberListResponse) {
        let configured = &self.0.target.endpoints;
        let may_be_plain = configured.iter().any(|endpoint| !endpoint.is_tls());
        let urls = members.members.iter().flat_map(|m| &m.client_urls);
        let endpoints = urls
            .filter_map(|url| Endpoint::parse(url, false).ok())
            .filter(|endpoint| endpoint.is_tls() || may_be_plain)
            .take(MAX_LEARNED)
            .collect();
        *self.learned() = Learned {
            cluster_id,
            endpoints,
        };
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        let learned = self.0.learned.lock();
        learned.unwrap_or_else(PoisonError::into_inner)
    }
}

/// One error of all.
fn none(mut failures: Vec<Error>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let endpoints: Vec<&str> = failures.iter().map(Error::endpoint).collect();
    let details: Vec<String> = failures.iter().map(Error::to_string).collect();
    let kind = match failures.iter().find(|error| !error.is_unavailable()) {
        // A wrong password, say, that another try does not help.
        Some(error) if failures.iter().all(|error| !error.is_unavailable()) => error.kind(),
        _ => ErrorKind::Unavailable,
    };
    Error::nothing_done("open", endpoints.join(","), kind, details.join("; "))
}
