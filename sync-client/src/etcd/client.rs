//! The client: writes that return when they are on disk, and the session for everything else.

use std::sync::Arc;

use cairn_etcd::wire::{
    Call, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
    WatchCreateRequest,
};
use cairn_etcd::{Cluster, Environment, ErrorKind, Options, Session, Target, Uri, Watch};
use futures::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::core::durability::{Durability, DurabilityError};
use crate::core::witnesses::Witnesses;
use crate::etcd::confirm::Confirmer;
use crate::etcd::effects::Write;
use crate::etcd::error::{Error, Reason, Result};
use crate::etcd::keeper::Keeper;
use crate::etcd::link::Link;
use crate::etcd::written::{Newest, Written};

/// A client of etcd whose writes return when they are on disk. Cheap to clone; all clones share one
/// connection, and one watch of the persisters' keys, however many writes are in flight.
///
/// When the connection ends, another one takes its place; see the [module](crate::etcd) for what
/// that means to writes that wait. A call that was certainly not sent goes out over the next one. A
/// future that is dropped leaves nothing behind, but what was sent may still happen.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    confirmer: Confirmer,
    options: Options,
    /// One for each write that may be under way.
    turns: Semaphore,
    newest: Newest,
    /// Ends with the last clone of the client.
    _keeper: JoinSet<()>,
}

impl Client {
    /// Connects, with the durability that the URI asks for (`persist=1,2,3&require=2`), else the
    /// environment (`CAIRN_PERSIST`, `CAIRN_REQUIRE`), else [`Durability::default`]; and with the
    /// user and the certificates that the variables of `etcdctl` name.
    ///
    /// # Errors
    /// As [`Client::connect_to`], and for a URI or an environment that make no sense.
    pub async fn connect(uri: &Uri) -> Result<Self> {
        Self::connect_with(uri, Options::default()).await
    }

    /// Connects as [`Client::connect`] does, with these [`Options`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(uri: &Uri, options: Options) -> Result<Self> {
        let durability = Durability::chosen(uri.persist.as_deref(), uri.require.as_deref())?;
        let target = Target::new(uri, &Environment::read()?)?;
        Self::connect_to(target, durability, options).await
    }

    /// Connects to a member of this cluster. An impossible policy is refused before anything is
    /// sent.
    ///
    /// # Errors
    /// [`Error::Durability`] for a policy that could never be fulfilled; [`Error::Etcd`] if no
    /// member can be reached, or the persisters' keys cannot be read.
    pub async fn connect_to(
        target: Target,
        durability: Durability,
        options: Options,
    ) -> Result<Self> {
        durability.validate()?;
        let witnesses = Arc::new(Witnesses::new(durability));
        let cluster = Cluster::new(target, options.clone());
        let mut keeper = Keeper::new(cluster, Arc::clone(&witnesses));
        let connections = keeper.connections();
        let follower = keeper.connect().await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.keep(follower));
        let shared = Shared {
            confirmer: Confirmer {
                witnesses,
                connections,
            },
            turns: Semaphore::new(options.max_in_flight),
            options,
            newest: Newest::default(),
            _keeper: tasks,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The policy that a write waits for.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.shared.confirmer.witnesses.durability
    }

    /// Writes one key, and returns when that is on disk.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`]: it was written, and is not known to be on disk.
    /// [`Error::Durability`]: the key is the persisters' own. Else it was not written, unless the
    /// error [may have happened](Error::may_have_happened).
    pub async fn put(&self, put: PutRequest) -> Result<PutResponse> {
        self.write(put).await
    }

    /// Deletes one key, or all of a range, and returns when that is on disk; at once if there was
    /// nothing.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, delete: DeleteRangeRequest) -> Result<DeleteRangeResponse> {
        self.write(delete).await
    }

    /// Does a transaction, and returns when what it did is on disk; at once if it changed nothing.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse> {
        self.write(txn).await
    }

    /// Ends a lease, and returns when the end of its keys is on disk. The answer does not tell
    /// whether there were any: what is waited for is everything up to the answer.
    ///
    /// # Errors
    /// As [`Client::put`]. If the connection is lost while this waits, it ends unconfirmed.
    pub async fn revoke(&self, lease: i64) -> Result<LeaseRevokeResponse> {
        let _turn = self.turn().await?;
        let (answer, link) = self.send(LeaseRevokeRequest { id: lease }).await?;
        let header = answer.header;
        self.confirm::<LeaseRevokeRequest>(link, header, None)
            .await?;
        Ok(answer)
    }

    /// Returns once a write that ended unconfirmed is on disk. It may be one of another client.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`] once the policy's timeout has passed.
    pub async fn wait_for(&self, written: &Written) -> Result<()> {
        let _turn = self.turn().await?;
        self.shared.confirmer.confirm_later(written.clone()).await
    }

    /// Returns once everything up to `revision` is on disk, for writes that were made elsewhere.
    ///
    /// `revision` is one of the cluster that this client is connected to now. A number proves
    /// nothing once a connection was lost: the cluster may have gone back, and have used it anew.
    /// So one that may be of an earlier connection of this client ends as [`Reason::Unverifiable`];
    /// for those there is [`Client::wait_for`].
    ///
    /// # Errors
    /// [`Error::Unconfirmed`] as said above, and once the policy's timeout has passed.
    pub async fn wait_durable(&self, revision: i64) -> Result<()> {
        let _turn = self.turn().await?;
        let started = Instant::now();
        let (confirmer, link) = (&self.shared.confirmer, self.link(0).await?);
        let is_of_this = self
            .shared
            .newest
            .is_after_all_before(link.generation, revision);
        let written = Written {
            revision,
            link,
            effects: None,
        };
        if is_of_this {
            return confirmer.confirm(written, started).await;
        }
        let why = "the revision may be of an earlier connection".to_owned();
        let reason = Reason::Unverifiable { why };
        let waited = started.elapsed();
        Err(confirmer
            .unconfirmed(written, reason, Vec::new(), waited)
            .await)
    }

    /// The newest revision up to which everything is known to be durable; `None`: fewer persisters
    /// than required have published a watermark.
    #[must_use]
    pub fn durable_revision(&self) -> Option<i64> {
        let durable = self.shared.confirmer.witnesses.durable_to();
        durable.map(Into::into)
    }

    /// Reads one key, or all of a range.
    ///
    /// # Errors
    /// [`Error::Etcd`].
    pub async fn get(&self, range: RangeRequest) -> Result<RangeResponse> {
        Ok(self.send(range).await?.0)
    }

    /// Makes a lease. It has no revision, and nothing of it is waited for.
    ///
    /// # Errors
    /// [`Error::Etcd`].
    pub async fn grant(&self, lease: LeaseGrantRequest) -> Result<LeaseGrantResponse> {
        Ok(self.send(lease).await?.0)
    }

    /// What is left of a lease.
    ///
    /// # Errors
    /// [`Error::Etcd`].
    pub async fn time_to_live(
        &self,
        lease: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse> {
        Ok(self.send(lease).await?.0)
    }

    /// Gives a lease its whole time again; see [`Session::keep_alive`].
    ///
    /// # Errors
    /// [`Error::Etcd`].
    pub async fn keep_alive(&self, lease: i64) -> Result<Option<i64>> {
        let session = self.session().await?;
        Ok(session.keep_alive(lease).await?)
    }

    /// Begins a watch. It ends with its connection: a program that goes on at the next revision
    /// looks first whether the cluster still is the one that it was.
    ///
    /// # Errors
    /// [`Error::Etcd`].
    pub async fn watch(&self, create: WatchCreateRequest) -> Result<Watch> {
        let session = self.session().await?;
        Ok(session.watch(create).await?)
    }

    /// The session that is there now, for everything else, and for writes that need not be durable.
    /// It never reconnects, and ends when this client gives its connection up.
    ///
    /// # Errors
    /// [`Error::Etcd`] if there is none within [`Options::request_timeout`].
    pub async fn session(&self) -> Result<Session> {
        Ok(self.link(0).await?.session.clone())
    }

    async fn write<W: Write>(&self, request: W) -> Result<W::Response> {
        if let Some(key) = request.touches() {
            let key = key.escape_ascii().to_string();
            return Err(DurabilityError::ControlArea { key }.into());
        }
        let _turn = self.turn().await?;
        let (answer, link) = self.send(request.clone()).await?;
        let effects = request.effects(&answer);
        if !effects.is_empty() {
            let header = W::header(&answer);
            self.confirm::<W>(link, header, Some(effects)).await?;
        }
        Ok(answer)
    }

    async fn confirm<C: Call>(
        &self,
        link: Arc<Link>,
        header: Option<cairn_etcd::wire::ResponseHeader>,
        effects: Option<crate::etcd::effects::Effects>,
    ) -> Result<()> {
        let Some(header) = header else {
            return Err(link
                .session
                .misbehaved::<C>("an answer without a header")
                .into());
        };
        let revision = header.revision;
        self.shared.newest.note(link.generation, revision);
        let written = Written {
            revision,
            link,
            effects,
        };
        let confirmer = &self.shared.confirmer;
        confirmer.confirm(written, Instant::now()).await
    }

    /// Sends a request over the connection that is there, and over the next one if it was not sent.
    async fn send<C: Call>(&self, request: C) -> Result<(C::Response, Arc<Link>)> {
        let end = self.end();
        let mut used = 0;
        loop {
            let link = self.link_until(used, end).await?;
            used = link.generation;
            match link.session.call(request.clone()).await {
                Ok(answer) => return Ok((answer, link)),
                Err(error) => {
                    let is_over = link.session.ended().now_or_never().is_some();
                    let is_lost = error.kind() == ErrorKind::Unavailable && is_over;
                    if !is_lost || error.may_have_happened() || Instant::now() >= end {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    async fn link(&self, after: u64) -> Result<Arc<Link>> {
        self.link_until(after, self.end()).await
    }

    async fn link_until(&self, after: u64, end: Instant) -> Result<Arc<Link>> {
        let connections = &self.shared.confirmer.connections;
        match connections.after_until(after, end).await {
            Ok(link) => Ok(link),
            Err(Some(error)) => Err(error.into()),
            Err(None) => Err(Error::Disconnected {
                waited: self.shared.options.request_timeout,
            }),
        }
    }

    fn end(&self) -> Instant {
        Instant::now() + self.shared.options.request_timeout
    }

    /// One of the writes that may be under way.
    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        match timeout_at(self.end(), self.shared.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Error::Busy {
                under_way: self.shared.options.max_in_flight,
            }),
        }
    }
}
