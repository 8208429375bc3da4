//! The client: that of `etcd_client`, over the channel whose writes are durable.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use cairn_etcd::Endpoint;
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::{Client as SyncClient, Environment, Options, Target, Uri};
use etcd_client::{ConnectOptions, Error};

use crate::channel::{Builder, Writer};
use crate::error::not_connected;

/// The client of `etcd_client`, whose writes return when they are on disk. It has all methods of
/// [`etcd_client::Client`], and [becomes](Client::into_inner) one where a program wants that very
/// type: it stays durable.
///
/// Writes have a connection of their own, as the [crate](crate) says, so these differ for them:
///
/// * They go to one member at a time. [`add_endpoint`](etcd_client::Client::add_endpoint) does not
///   count for them: the members are learned from the cluster.
/// * Of [`ConnectOptions`] the user counts, as it was when the client connected. Instead of its
///   timeout, a write has [`Options::request_timeout`] for its answer and
///   [`Durability::timeout`] for the persisters.
/// * Certificates come from the variables of `etcdctl` (`ETCDCTL_CACERT`, `ETCDCTL_CERT`,
///   `ETCDCTL_KEY`), or from the program by [`Client::connect_with`]: options cannot be read.
#[derive(Clone)]
pub struct Client {
    inner: etcd_client::Client,
    durable: SyncClient,
}

impl Client {
    /// Connects to these endpoints, with the durability that the environment asks for
    /// (`CAIRN_PERSIST`, `CAIRN_REQUIRE`), else [`Durability::default`].
    ///
    /// # Errors
    /// As [`Client::connect_durable`].
    pub async fn connect<E: AsRef<str>, S: AsRef<[E]>>(
        endpoints: S,
        options: Option<ConnectOptions>,
    ) -> Result<Self, Error> {
        let durability = match Durability::from_env().transpose() {
            Ok(durability) => durability.unwrap_or_default(),
            Err(error) => return Err(invalid(&error)),
        };
        Self::connect_durable(endpoints, options, durability).await
    }

    /// Connects to these endpoints, with this durability.
    ///
    /// # Errors
    /// [`Error::InvalidArgs`] for an impossible policy, and variables that make no sense. Else as
    /// [`etcd_client::Client::connect`]; and if no member can be reached, which that one would
    /// find out at the first call.
    pub async fn connect_durable<E: AsRef<str>, S: AsRef<[E]>>(
        endpoints: S,
        options: Option<ConnectOptions>,
        durability: Durability,
    ) -> Result<Self, Error> {
        durability.validate().map_err(|error| invalid(&error))?;
        let target = target(endpoints.as_ref())?;
        let writer = Arc::new(Writer::default());
        let inner = begin(endpoints, options, Arc::clone(&writer)).await?;
        let target = Target {
            user: writer.take_user().or(target.user),
            ..target
        };
        let durable = SyncClient::connect_to(target, durability, Options::default()).await;
        let durable = durable.map_err(not_connected)?;
        writer.is(durable.clone());
        Ok(Self { inner, durable })
    }

    /// Connects to these endpoints for all calls but writes. Those are done by `durable`, which has
    /// a target, certificates and limits of its own, and has to be connected to the same cluster.
    ///
    /// # Errors
    /// As [`etcd_client::Client::connect`].
    pub async fn connect_with<E: AsRef<str>, S: AsRef<[E]>>(
        endpoints: S,
        options: Option<ConnectOptions>,
        durable: SyncClient,
    ) -> Result<Self, Error> {
        let writer = Arc::new(Writer::default());
        writer.is(durable.clone());
        let inner = begin(endpoints, options, writer).await?;
        Ok(Self { inner, durable })
    }

    /// The sync client that does the writes: it can wait for one that ended unconfirmed
    /// ([`wait_for`](SyncClient::wait_for)), knows how far everything is durable
    /// ([`durable_revision`](SyncClient::durable_revision)), and has the session for writes that
    /// need not be durable ([`session`](SyncClient::session)).
    #[must_use]
    pub fn durable(&self) -> &SyncClient {
        &self.durable
    }

    /// The very type of `etcd_client`. Its writes return when they are on disk, too.
    #[must_use]
    pub fn into_inner(self) -> etcd_client::Client {
        self.inner
    }
}

impl Deref for Client {
    type Target = etcd_client::Client;

    fn deref(&self) -> &etcd_client::Client {
        &self.inner
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut etcd_client::Client {
        &mut self.inner
    }
}

async fn begin<E: AsRef<str>, S: AsRef<[E]>>(
    endpoints: S,
    options: Option<ConnectOptions>,
    writer: Arc<Writer>,
) -> Result<etcd_client::Client, Error> {
    let builder = Builder(writer);
    etcd_client::Client::connect_with_balanced_channel(endpoints, options, builder).await
}

/// Where the writes go. As for `etcdctl`, an address without a scheme is one with TLS if there are
/// certificates.
fn target<E: AsRef<str>>(endpoints: &[E]) -> Result<Target, Error> {
    let environment = Environment::read().map_err(|error| invalid(&error))?;
    let tls = environment.cacert.is_some() || environment.cert.is_some();
    let addresses = endpoints
        .iter()
        .map(|text| Endpoint::parse(text.as_ref(), tls));
    let uri = Uri {
        endpoints: addresses
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(&error))?,
        ..Uri::default()
    };
    if uri.endpoints.is_empty() {
        return Err(Error::InvalidArgs("empty endpoints".to_owned()));
    }
    Target::new(&uri, &environment).map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::error::Error) -> Error {
    Error::InvalidArgs(error.to_string())
}
