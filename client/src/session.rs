//! One connection after the other: a client's session with its cluster.
//!
//! One task lives as long as any handle of the client does. It serves the queue over a connection
//! and, when that ends, looks for another node.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{Connection, Ended, Reason, Socket};
use crate::error::{Error, ErrorCode, Result};
use crate::options::Options;
use crate::queue::{Changed, Failure, Queue, WentBack};
use crate::revision::Revision;
use crate::route::{Route, jittered};
use crate::status::Status;
use crate::uri::Secret;
use crate::wire::{Request, Response, Verb};

/// The state that the session's task shares with the client's handles.
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) options: Options,
    pub(crate) status: watch::Sender<Status>,
    entry: Mutex<EntryTerms>,
}

/// The steps on a new connection before any request is sent on it.
#[derive(Clone, Debug, Default)]
struct EntryTerms {
    /// Presented, in this order.
    secrets: Vec<Secret>,
    /// A file that must have this value.
    required: Vec<(String, Bytes)>,
}

impl Shared {
    fn terms(&self) -> MutexGuard<'_, EntryTerms> {
        self.entry
            .lock()
            .expect("nothing panics while it holds the terms")
    }

    /// Presents a secret on every connection from the next one on.
    pub(crate) fn remember_secret(&self, secret: Secret) {
        let mut terms = self.terms();
        if !terms.secrets.contains(&secret) {
            terms.secrets.push(secret);
        }
    }

    /// Demands a value of a file on every connection from the next one on.
    pub(crate) fn require(&self, path: String, value: Bytes) {
        let mut terms = self.terms();
        terms.required.retain(|(known, _)| *known != path);
        terms.required.push((path, value));
    }
}

/// Finds the nodes of a cluster that is known by its name; they may have changed.
pub(crate) type LookUp = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<String>>> + Send + Sync>;

/// Connects to the first node that accepts us, and starts the task that replaces the connection
/// when it ends. `look_up`: asked before all addresses are tried again.
pub(crate) async fn open(
    addresses: Vec<String>,
    look_up: Option<LookUp>,
    secret: Option<Secret>,
    options: Options,
) -> Result<Arc<Shared>> {
    let route = Route::new(addresses, options.backoff_min, options.backoff_max)
        .starting_at(options.first_address);
    let (status, _) = watch::channel(Status::Disconnected {
        generation: 0,
        attempts: Vec::new(),
    });
    let terms = EntryTerms {
        secrets: secret.into_iter().collect(),
        required: Vec::new(),
    };
    let shared = Arc::new(Shared {
        queue: Arc::default(),
        options,
        status,
        entry: Mutex::new(terms),
    });
    let mut session = Session {
        shared: Arc::clone(&shared),
        look_up,
        route,
        generation: 0,
        attempts: Vec::new(),
        newest: Revision::MISSING,
        behind: None,
        _end_queue: EndQueue(Arc::clone(&shared.queue)),
    };
    let connection = session.connect_once().await?;
    session.announce(&connection);
    tokio::spawn(session.run(connection));
    Ok(shared)
}

struct Session {
    shared: Arc<Shared>,
    look_up: Option<LookUp>,
    route: Route,
    generation: u64,
    attempts: Vec<(String, String)>,
    /// The newest revision that a node has named, and since when all that can be reached are behind
    /// it.
    newest: Revision,
    behind: Option<Instant>,
    /// From the start: a runtime may go down before it has polled the task once.
    _end_queue: EndQueue,
}

/// Why an address was of no use.
enum Refusal {
    /// Nobody there, or nobody who speaks the protocol.
    Unreachable(String),
    /// The server answered with an error.
    Denied(Error),
    /// Its newest revision is lower than one that was seen.
    Behind(Revision, Revision),
    /// It is not the cluster it should be.
    Changed(Changed),
}

impl Refusal {
    fn cause(&self) -> String {
        match self {
            Self::Unreachable(cause) => cause.clone(),
            Self::Denied(error) => error.to_string(),
            Self::Behind(newest, seen) => {
                format!("its newest revision is {newest}, and {seen} was seen before")
            }
            Self::Changed(changed) => match &changed.found {
                Some(found) => format!("{} is {found:?} there", changed.path),
                None => format!("{} is missing there", changed.path),
            },
        }
    }
}

type Entered = Result<Connection, Refusal>;

/// One in so many parts of the time to connect.
const HEAD_START_FRACTION: u32 = 10;

/// How long nodes of several have to catch up with what another one has shown, before their history
/// counts as another one.
const CATCH_UP: Duration = Duration::from_secs(3);

/// Whether a round of refusals shows that our cluster is gone: some node belongs to another one,
/// or no node has the file that tells. One that lacks it may just lag behind.
fn other_cluster(refusals: Vec<Refusal>) -> Option<Changed> {
    let nodes = refusals.len();
    let changed = refusals.into_iter().filter_map(|refusal| match refusal {
        Refusal::Changed(changed) => Some(changed),
        _ => None,
    });
    let mut changed: Vec<Changed> = changed.collect();
    let all_lack_it = changed.len() == nodes;
    match changed.iter().position(|changed| changed.found.is_some()) {
        Some(other) => Some(changed.swap_remove(other)),
        None if all_lack_it => changed.pop(),
        None => None,
    }
}

/// Ends the queue however the session ends, so that no caller waits for nobody.
struct EndQueue(Arc<Queue>);

impl Drop for EndQueue {
    fn drop(&mut self) {
        self.0.end(&Failure::Closed);
    }
}

impl Session {
    async fn run(mut self, mut connection: Connection) {
        let shared = Arc::clone(&self.shared);
        let queue = &shared.queue;
        loop {
            let address = connection.address.clone();
            let ended = connection
                .serve(queue, &shared.options, self.route.len())
                .await;
            let Ended {
                reason,
                useful,
                newest,
            } = ended;
            self.newest = self.newest.max(newest);
            let cause = match reason {
                Reason::Unused => return,
                Reason::Lost(cause) => cause,
                Reason::ReadOnly => "the node does not take writes".to_owned(),
                Reason::Recycled => "replaced by a fresh connection".to_owned(),
            };
            tracing::debug!(address, cause, "left a connection");
            if !shared.options.reconnect {
                return;
            }
            self.attempts.clear();
            self.note(address, cause);
            // A node that lets us in only to throw us out is as bad as one that does not.
            let pause = if useful {
                self.route.was_useful();
                None
            } else {
                self.route.was_useless()
            };
            let next = tokio::select! {
                next = self.reconnect(pause) => next,
                () = ended_queue(queue) => return,
            };
            connection = match next {
                Ok(connection) => connection,
                Err(changed) => {
                    queue.end(&Failure::Changed(changed));
                    return;
                }
            };
            self.announce(&connection);
        }
    }

    /// Tries every address once.
    async fn connect_once(&mut self) -> Result<Connection> {
        let refusals = match self.try_all().await {
            Ok(connection) => return Ok(connection),
            Err(refusals) => refusals,
        };
        let denied = refusals.into_iter().find_map(|refusal| match refusal {
            Refusal::Denied(error) => Some(error),
            _ => None,
        });
        // A wrong secret says more than a list of addresses of which some were down.
        Err(denied.unwrap_or_else(|| Error::Connect {
            attempts: std::mem::take(&mut self.attempts),
        }))
    }

    /// Tries all addresses again and again, with pauses; an error is final.
    async fn reconnect(&mut self, mut pause: Option<Duration>) -> Result<Connection, Changed> {
        loop {
            if let Some(pause) = pause {
                sleep(jittered(pause)).await;
                self.look_up_again().await;
            }
            let refusals = match self.try_all().await {
                Ok(connection) => return Ok(connection),
                Err(refusals) => refusals,
            };
            if let Some(changed) = other_cluster(refusals) {
                return Err(changed);
            }
            pause = Some(self.route.has_failed());
        }
    }

    async fn look_up_again(&mut self) {
        let Some(look_up) = &self.look_up else {
            return;
        };
        match look_up().await {
            Ok(addresses) => self.route.replace(addresses),
            Err(error) => tracing::warn!(%error, "cannot look the cluster up again"),
        }
    }

    /// Tries every address, each with a head start before the next one, so that a machine that
    /// is gone without a word costs no more than that.
    async fn try_all(&mut self) -> Result<Connection, Vec<Refusal>> {
        let head_start = self.shared.options.connect_timeout / HEAD_START_FRACTION;
        let round = self.route.round();
        let mut refused = Vec::new();
        let entered = {
            let mut waiting = round.iter();
            let mut running = FuturesUnordered::new();
            loop {
                if running.is_empty() {
                    match waiting.next() {
                        Some(address) => running.push(self.attempt(address)),
                        None => break None,
                    }
                }
                tokio::select! {
                    Some((address, entered)) = running.next() => match entered {
                        Ok(connection) if self.is_passed_over(&connection) => {
                            let refusal = Refusal::Behind(connection.revision, self.newest);
                            refused.push((address, refusal));
                        }
                        Ok(connection) => break Some(connection),
                        Err(refusal) => refused.push((address, refusal)),
                    },
                    () = sleep(head_start), if waiting.len() > 0 => {
                        running.extend(waiting.next().map(|address| self.attempt(address)));
                    }
                }
            }
        };
        if refused
            .iter()
            .any(|(_, refusal)| matches!(refusal, Refusal::Behind(..)))
        {
            self.behind.get_or_insert_with(Instant::now);
        }
        for (address, refusal) in &refused {
            let cause = refusal.cause();
            tracing::debug!(address, cause, "cannot connect");
            self.note((*address).clone(), cause);
        }
        match entered {
            Some(connection) => {
                self.route.entered(&connection.address);
                Ok(connection)
            }
            None => Err(refused.into_iter().map(|(_, refusal)| refusal).collect()),
        }
    }

    async fn attempt<'a>(&self, address: &'a String) -> (&'a String, Entered) {
        let within = self.shared.options.connect_timeout;
        let entered = timeout(within, self.enter(address))
            .await
            .unwrap_or_else(|_| Err(Refusal::Unreachable(format!("no answer within {within:?}"))));
        (address, entered)
    }

    /// Connects to one address and fulfils the terms of entry.
    async fn enter(&self, address: &str) -> Result<Connection, Refusal> {
        let broken = |error: std::io::Error| Refusal::Unreachable(error.to_string());
        let plain = TcpStream::connect(address).await.map_err(broken)?;
        plain.set_nodelay(true).map_err(broken)?;
        let options = &self.shared.options;
        #[cfg(feature = "tls")]
        let socket: Box<dyn Socket> = match &options.tls {
            Some(tls) => Box::new(tls.wrap(address, plain).await.map_err(broken)?),
            None => Box::new(plain),
        };
        #[cfg(not(feature = "tls"))]
        let socket: Box<dyn Socket> = Box::new(plain);
        let mut connection = Connection::new(address.to_owned(), socket, options.max_frame);
        let terms = self.shared.terms().clone();
        for secret in terms.secrets {
            let request = Request {
                value: Some(secret.expose().clone()),
                ..Request::default()
            };
            ask(&mut connection, Verb::Access, request).await?;
        }
        let revision = ask(&mut connection, Verb::Rev, Request::default()).await?;
        connection.revision = Revision(revision.rev.unwrap_or_default());
        for (path, expected) in terms.required {
            let request = Request {
                path: Some(path.clone()),
                ..Request::default()
            };
            let file = ask(&mut connection, Verb::Get, request).await?;
            let exists = file
                .rev
                .is_some_and(|rev| Revision(rev) != Revision::MISSING);
            let found = file.value.filter(|_| exists);
            if found.as_ref() != Some(&expected) {
                let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
                return Err(Refusal::Changed(Changed {
                    path,
                    expected: text(expected),
                    found: found.map(text),
                }));
            }
        }
        Ok(connection)
    }

    /// Whether to pass over a node that is behind what was seen: it may be about to catch up, and
    /// another may not lag.
    fn is_passed_over(&self, connection: &Connection) -> bool {
        let lags_for = self.behind.map_or(Duration::ZERO, |since| since.elapsed());
        connection.revision < self.newest && self.route.len() > 1 && lags_for < CATCH_UP
    }

    fn announce(&mut self, connection: &Connection) {
        if connection.revision < self.newest {
            self.shared.queue.went_back(WentBack {
                address: connection.address.clone(),
                newest: connection.revision,
                seen: self.newest,
            });
        }
        self.newest = connection.revision;
        self.behind = None;
        self.generation += 1;
        self.attempts.clear();
        let status = Status::Connected {
            address: connection.address.clone(),
            generation: self.generation,
            revision: connection.revision,
        };
        tracing::debug!(?status, "connected");
        self.shared.status.send_replace(status);
    }

    /// Remembers why an address was of no use; at most one cause for each.
    fn note(&mut self, address: String, cause: String) {
        self.attempts.retain(|(known, _)| *known != address);
        self.attempts.push((address, cause));
        if self.generation > 0 {
            self.shared.status.send_replace(Status::Disconnected {
                generation: self.generation,
                attempts: self.attempts.clone(),
            });
        }
    }
}

async fn ask(
    connection: &mut Connection,
    verb: Verb,
    mut request: Request,
) -> Result<Response, Refusal> {
    request.verb = Some(verb as i32);
    let path = request.path.clone().unwrap_or_default();
    let answer = connection.exchange(request).await;
    let answer = answer.map_err(Refusal::Unreachable)?;
    match answer.err_code {
        None => Ok(answer),
        Some(code) => Err(Refusal::Denied(Error::Server {
            verb,
            path,
            code: ErrorCode::from(code),
            detail: answer.err_detail.unwrap_or_default(),
        })),
    }
}

async fn ended_queue(queue: &Queue) {
    while !queue.has_ended() {
        queue.changed().await;
    }
}
