//! A connection, as the command line asks for it: plain, or with durable writes.

use bytes::Bytes;
use cairn_client::{Client, Options, Revision, Uri};
use cairn_sync_client::{Client as SyncClient, Durability, Error};

use crate::doozer::args::Args;

/// The cluster, unless the command line or the environment names another.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8046";

/// A connection.
#[derive(Clone, Debug)]
pub enum Session {
    /// Writes return when the cluster has them.
    Plain(Client),
    /// Writes return when persisters have them on disk.
    Durable(SyncClient),
}

impl Session {
    /// Connects.
    pub async fn connect(args: &Args) -> Result<Self, Error> {
        let uri = uri(args)?;
        match durability(args, &uri)? {
            Some(durability) => {
                let options = options(args);
                let client = SyncClient::connect_durable_with(&uri, durability, options).await?;
                Ok(Self::Durable(client))
            }
            None => Self::connect_plain(args).await,
        }
    }

    /// Connects for plain writes, even if durable ones were asked for.
    pub async fn connect_plain(args: &Args) -> Result<Self, Error> {
        let client = Client::connect_with(&uri(args)?, options(args)).await?;
        Ok(Self::Plain(client))
    }

    /// Whether writes shall wait for disks.
    pub fn asks_for_durable(args: &Args) -> Result<bool, Error> {
        Ok(durability(args, &uri(args)?)?.is_some())
    }

    /// The kind of its writes, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Plain(_) => "plain".to_owned(),
            Self::Durable(client) => {
                let policy = client.durability();
                let ids: Vec<String> = policy.persisters.iter().map(u32::to_string).collect();
                format!("durable, {} of {}", policy.required, ids.join(","))
            }
        }
    }

    /// For everything but writes.
    #[must_use]
    pub fn reader(&self) -> &Client {
        match self {
            Self::Plain(client) => client,
            Self::Durable(client) => client.regular(),
        }
    }

    /// Whether writes wait for disks.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        matches!(self, Self::Durable(_))
    }

    /// Writes a file.
    pub async fn set(
        &self,
        path: &str,
        rev: Revision,
        body: impl Into<Bytes>,
    ) -> Result<Revision, Error> {
        match self {
            Self::Plain(client) => Ok(client.set(path, rev, body).await?),
            Self::Durable(client) => client.set(path, rev, body).await,
        }
    }

    /// Deletes a file.
    pub async fn del(&self, path: &str, rev: Revision) -> Result<(), Error> {
        match self {
            Self::Plain(client) => Ok(client.del(path, rev).await?),
            Self::Durable(client) => client.del(path, rev).await,
        }
    }
}

fn options(args: &Args) -> Options {
    let mut options = Options {
        boot: args.boot.clone(),
        ..Options::default()
    };
    if let Some(timeout) = args.timeout {
        options.request_timeout = timeout;
        options.connect_timeout = timeout;
    }
    options
}

fn uri(args: &Args) -> Result<Uri, Error> {
    let from_env = || {
        Uri::from_env()
            .transpose()
            .map_err(cairn_client::Error::from)
    };
    match &args.uri {
        Some(uri) => Ok(uri.clone()),
        None => match from_env()? {
            Some(uri) => Ok(uri),
            None => {
                let default = Uri::from_address(DEFAULT_ADDRESS);
                Ok(default.map_err(cairn_client::Error::from)?)
            }
        },
    }
}

/// Takes the policy from the first that has one: options, URI, environment.
fn durability(args: &Args, uri: &Uri) -> Result<Option<Durability>, Error> {
    let asked = if args.sync.is_some() || args.require.is_some() {
        Some(Durability::parse(
            args.sync.as_deref(),
            args.require.as_deref(),
        ))
    } else if uri.persist.is_some() || uri.require.is_some() {
        Some(Durability::parse(
            uri.persist.as_deref(),
            uri.require.as_deref(),
        ))
    } else {
        Durability::from_env()
    };
    let mut durability = asked.transpose()?;
    if let (Some(durability), Some(timeout)) = (&mut durability, args.timeout) {
        durability.timeout = timeout;
    }
    Ok(durability)
}
