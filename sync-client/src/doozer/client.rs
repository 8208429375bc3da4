//! The drop-in: the regular client's methods, with writes that return when they are on disk.

use std::sync::Arc;

use bytes::Bytes;
use cairn_client::{Event, File, Options, Revision, Stat, Status, Uri};
use cairn_protocol::keys;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::durability::{Durability, DurabilityError};
use crate::core::target::Target;
use crate::core::witnesses::Witnesses;
use crate::doozer::confirm::{Confirmer, Origin};
use crate::doozer::delete::delete;
use crate::doozer::error::Result;
use crate::doozer::follow::follow;
use crate::doozer::range::{RevisionRange, newest_set};
use crate::doozer::streams::{Listing, Walk, Watch};

/// A client whose writes return when they are on disk. Cheap to clone; all clones share one
/// connection and one watch for each persister, however many writes are in flight.
///
/// Methods, arguments and results are those of [`cairn_client::Client`]; only
/// [`set`](Client::set) and [`del`](Client::del) take longer, and may end with
/// [`Error::Unconfirmed`](crate::Error::Unconfirmed). A write that fails costs no wait. A future
/// that is dropped leaves nothing behind, but what was sent may still happen.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    confirmer: Confirmer,
    /// One task a persister; they end with the last clone of the client.
    _followers: JoinSet<()>,
}

impl Client {
    /// Connects, with the durability that the URI asks for (`persist=1,2,3&require=2`), else the
    /// environment (`CAIRN_PERSIST`, `CAIRN_REQUIRE`), else [`Durability::default`].
    ///
    /// # Errors
    /// As [`Client::connect_durable_with`]; [`Error::Durability`](crate::Error::Durability) also
    /// for a URI or an environment that says no policy.
    pub async fn connect(uri: &Uri) -> Result<Self> {
        Self::connect_with(uri, Options::default()).await
    }

    /// Connects as [`Client::connect`] does, with these [`Options`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(uri: &Uri, options: Options) -> Result<Self> {
        let durability = Durability::chosen(uri.persist.as_deref(), uri.require.as_deref())?;
        Self::connect_durable_with(uri, durability, options).await
    }

    /// Connects with this durability instead of that of the URI or the environment.
    ///
    /// # Errors
    /// As [`Client::connect_durable_with`].
    pub async fn connect_durable(uri: &Uri, durability: Durability) -> Result<Self> {
        Self::connect_durable_with(uri, durability, Options::default()).await
    }

    /// Connects with this durability and these [`Options`]. An impossible policy is refused before
    /// anything is sent.
    ///
    /// # Errors
    /// [`Error::Durability`](crate::Error::Durability) for a policy that could never be fulfilled;
    /// else as [`cairn_client::Client::connect_with`].
    pub async fn connect_durable_with(
        uri: &Uri,
        durability: Durability,
        options: Options,
    ) -> Result<Self> {
        durability.validate()?;
        let regular = cairn_client::Client::connect_with(uri, options).await?;
        let witnesses = Witnesses::new(durability);
        let mut followers = JoinSet::new();
        for persister in &witnesses.persisters {
            followers.spawn(follow(Arc::clone(persister), regular.clone()));
        }
        let origin = Origin::of(&regular).await?;
        let confirmer = Confirmer {
            regular,
            witnesses,
            origin,
            runtime: Handle::current().id(),
        };
        let shared = Shared {
            confirmer,
            _followers: followers,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The regular client on the same connection: for writes that need not be durable, and for
    /// those at or below `/ctl`, which cannot be.
    #[must_use]
    pub fn regular(&self) -> &cairn_client::Client {
        &self.shared.confirmer.regular
    }

    /// The policy that a write waits for.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.shared.confirmer.witnesses.durability
    }

    /// Writes a file, and returns its revision when it is on disk. For `rev` see
    /// [`cairn_client::Client::set`].
    ///
    /// # Errors
    /// [`Error::Unconfirmed`](crate::Error::Unconfirmed): it was written, at the revision that the
    /// error names, and is not known to be on disk.
    /// [`Error::Durability`](crate::Error::Durability): persisters never journal this path. All
    /// others are those of [`cairn_client::Client::set`]: it was not written, or nobody can tell.
    pub async fn set(
        &self,
        path: &str,
        rev: Revision,
        value: impl Into<Bytes>,
    ) -> Result<Revision> {
        require_persisted(path)?;
        let confirmer = &self.shared.confirmer;
        let _interest = confirmer.witnesses.interest_in_mirrors(path);
        let connection = confirmer.connection();
        let value = value.into();
        let revision = self.regular().set(path, rev, value.clone()).await?;
        let target = Target::Set {
            path: path.into(),
            revision: revision.into(),
            value,
        };
        confirmer
            .confirm(target, connection, Instant::now())
            .await?;
        Ok(revision)
    }

    /// Deletes a file, and returns when that is on disk. For `rev` see
    /// [`cairn_client::Client::del`].
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn del(&self, path: &str, rev: Revision) -> Result<()> {
        require_persisted(path)?;
        delete(&self.shared.confirmer, path, rev).await
    }

    /// Whether a write of which nobody can tell was done
    /// ([`Error::may_have_happened`](crate::Error::may_have_happened)): looks for a set of `path`
    /// to exactly `value` after revision `since`, and returns its revision when it is on disk.
    /// `None`: it was not done until now, though it may still be on its way to the cluster, unless
    /// something has made it impossible since.
    ///
    /// This is a proof only if nobody else writes the same value, so put something of the writer's
    /// own into it. Ask for `since`, such as [`rev`](Client::rev), before the write; if the cluster
    /// has discarded the history since then, this fails
    /// ([`Error::is_too_late`](crate::Error::is_too_late)). Only the cluster that is there now is
    /// searched: a write that was lost in a reset or a restore is not found.
    ///
    /// # Errors
    /// [`Error::is_too_late`](crate::Error::is_too_late) as said above;
    /// [`Error::Unconfirmed`](crate::Error::Unconfirmed) if it was found and is not known to be on
    /// disk.
    pub async fn find_set(
        &self,
        path: &str,
        value: &[u8],
        since: Revision,
    ) -> Result<Option<Revision>> {
        require_persisted(path)?;
        let confirmer = &self.shared.confirmer;
        let _interest = confirmer.witnesses.interest(path);
        confirmer.read_mirrors(path).await;
        loop {
            let connection = confirmer.connection();
            let search = async {
                let range = RevisionRange {
                    first: since.next(),
                    last: self.regular().rev().await?,
                };
                newest_set(self.regular(), path, value, range).await
            };
            // Else the end of the range may have been another node's, which this one has not
            // reached, or another cluster's, which this one never will.
            let Some(found) = confirmer.while_connected(connection, search).await else {
                continue;
            };
            let found = found?;
            let Some(revision) = found else {
                return Ok(None);
            };
            let path = path.into();
            let value = Bytes::copy_from_slice(value);
            let target = Target::Set {
                path,
                revision: revision.into(),
                value,
            };
            confirmer
                .confirm(target, connection, Instant::now())
                .await?;
            return Ok(found);
        }
    }

    /// Returns once everything up to `revision` is on disk, for writes that were made elsewhere
    /// or ended unconfirmed. Only persisters that publish a watermark can confirm that.
    ///
    /// `revision` is one of the cluster that this client connected to. If that was reset or
    /// restored since, the number means something else there, and this ends with
    /// [`Error::Unconfirmed`](crate::Error::Unconfirmed) at once: connect anew to wait for
    /// revisions of the new cluster.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`](crate::Error::Unconfirmed) once the policy's timeout has passed.
    pub async fn wait_durable(&self, revision: Revision) -> Result<()> {
        let confirmer = &self.shared.confirmer;
        let started = Instant::now();
        let connection = confirmer.connection();
        if !confirmer.is_origin().await? {
            return Err(confirmer.unconfirmed(revision, false, Vec::new(), started.elapsed()));
        }
        let target = Target::All(revision.into());
        confirmer.confirm(target, connection, started).await
    }

    /// The newest revision up to which everything is known to be durable; `None`: fewer
    /// persisters than required have published a watermark.
    #[must_use]
    pub fn durable_revision(&self) -> Option<Revision> {
        let confirmer = &self.shared.confirmer;
        confirmer.witnesses.durable_to().map(Into::into)
    }

    /// [`cairn_client::Client::status`].
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.regular().status()
    }

    /// [`cairn_client::Client::generation`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.regular().generation()
    }

    /// [`cairn_client::Client::require`].
    pub fn require(&self, path: &str, value: impl Into<Bytes>) {
        self.regular().require(path, value);
    }

    /// [`cairn_client::Client::get`].
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, path: &str, at: Option<Revision>) -> Result<Option<File>> {
        Ok(self.regular().get(path, at).await?)
    }

    /// [`cairn_client::Client::rev`].
    ///
    /// # Errors
    /// As there.
    pub async fn rev(&self) -> Result<Revision> {
        Ok(self.regular().rev().await?)
    }

    /// [`cairn_client::Client::nop`]. It changes nothing, so there is nothing to be on disk.
    ///
    /// # Errors
    /// As there.
    pub async fn nop(&self) -> Result<()> {
        Ok(self.regular().nop().await?)
    }

    /// [`cairn_client::Client::self_name`].
    ///
    /// # Errors
    /// As there.
    pub async fn self_name(&self) -> Result<Bytes> {
        Ok(self.regular().self_name().await?)
    }

    /// [`cairn_client::Client::stat`].
    ///
    /// # Errors
    /// As there.
    pub async fn stat(&self, path: &str, at: Option<Revision>) -> Result<Stat> {
        Ok(self.regular().stat(path, at).await?)
    }

    /// [`cairn_client::Client::wait`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&self, glob: &str, from: Revision) -> Result<Event> {
        Ok(self.regular().wait(glob, from).await?)
    }

    /// [`cairn_client::Client::access`].
    ///
    /// # Errors
    /// As there.
    pub async fn access(&self, secret: &[u8]) -> Result<()> {
        Ok(self.regular().access(secret).await?)
    }

    /// [`cairn_client::Client::watch`].
    #[must_use]
    pub fn watch(&self, glob: &str, from: Revision) -> Watch {
        Watch(self.regular().watch(glob, from))
    }

    /// [`cairn_client::Client::walk`].
    #[must_use]
    pub fn walk(&self, glob: &str, at: Option<Revision>) -> Walk {
        Walk(self.regular().walk(glob, at))
    }

    /// [`cairn_client::Client::getdir`].
    #[must_use]
    pub fn getdir(&self, path: &str, at: Option<Revision>) -> Listing {
        Listing(self.regular().getdir(path, at))
    }
}

fn require_persisted(path: &str) -> Result<()> {
    if keys::is_internal(path) {
        let path = path.to_owned();
        return Err(DurabilityError::NeverJournaled { path }.into());
    }
    Ok(())
}
