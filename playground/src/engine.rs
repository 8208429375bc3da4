//! A client of a cluster, whatever protocol it speaks: what writers, audits and probes need of one.

use std::time::Duration;

use bytes::Bytes;
use cairn_client::Revision;
use cairn_etcd::wire::{DeleteRangeRequest, KeyValue, PutRequest, RangeRequest};
use cairn_etcd::{Environment, Session, Target};
use cairn_persister::identity::Identity;
use cairn_protocol::keys;
use cairn_sync_client::{Client, Durability, Error, etcd};
use futures::TryStreamExt as _;

use crate::ledger::outcome::Outcome;
use crate::ledger::write::Found;

/// How many keys are read at a time.
const PAGE: i64 = 10_000;

/// What a client was told, and the words of its library where it is not good news.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What.
    pub outcome: Outcome,
    /// In whose words.
    pub says: Option<String>,
}

/// A client. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Engine {
    /// Of the doozer protocol, whose writes return when they are on disk.
    Doozer(Client),
    /// Of etcd v3, whose writes return when they are on disk.
    Etcd(etcd::Client),
}

impl Engine {
    /// Connects to a cluster of this computer, with the durability that the URI asks for.
    ///
    /// # Errors
    /// A text that is no URI, or a cluster that does not answer.
    pub async fn connect(uri: &str, timeout: Duration) -> anyhow::Result<Self> {
        Self::connect_as(uri, &Environment::default(), timeout).await
    }

    /// Connects to any cluster; one of etcd with the user and the certificates of an environment.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn connect_as(
        uri: &str,
        environment: &Environment,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        match uri.starts_with("etcd") {
            true => Self::etcd(uri, environment, timeout).await,
            false => Self::doozer(uri, timeout).await,
        }
    }

    async fn doozer(uri: &str, timeout: Duration) -> anyhow::Result<Self> {
        let uri: cairn_client::Uri = uri.parse()?;
        let asked = Durability::parse(uri.persist.as_deref(), uri.require.as_deref())?;
        let durability = Durability { timeout, ..asked };
        let options = cairn_client::Options {
            request_timeout: timeout,
            connect_timeout: timeout,
            // A person, or an audit, waits for the cluster to come back.
            backoff_max: Duration::from_millis(200),
            ..cairn_client::Options::default()
        };
        let client = Client::connect_durable_with(&uri, durability, options).await?;
        Ok(Self::Doozer(client))
    }

    async fn etcd(uri: &str, environment: &Environment, timeout: Duration) -> anyhow::Result<Self> {
        let uri: etcd::Uri = uri.parse()?;
        let asked = Durability::parse(uri.persist.as_deref(), uri.require.as_deref())?;
        let durability = Durability { timeout, ..asked };
        let options = etcd::Options {
            request_timeout: timeout,
            connect_timeout: timeout,
            ..etcd::Options::default()
        };
        let target = Target::new(&uri, environment)?;
        let client = etcd::Client::connect_to(target, durability, options).await?;
        Ok(Self::Etcd(client))
    }

    /// Sets a key, or deletes it, and waits for the disks.
    pub async fn write(&self, key: &str, value: Option<Bytes>) -> Answer {
        let written = match self {
            Self::Doozer(client) => write(client, key, value).await,
            Self::Etcd(client) => write_to_etcd(client, key, value).await,
        };
        let (outcome, says) = match written {
            Ok(outcome) => (outcome, None),
            Err((outcome, says)) => (outcome, Some(says)),
        };
        Answer { outcome, says }
    }

    /// Sets a key, or deletes it, and waits for no disk: at best it is in effect.
    pub async fn write_at_once(&self, key: &str, value: Option<Bytes>) -> Answer {
        let written = match self {
            Self::Doozer(client) => write_at_once(client, key, value).await,
            Self::Etcd(client) => write_to_etcd_at_once(client, key, value).await,
        };
        let (outcome, says) = match written {
            Ok(outcome) => (outcome, None),
            Err((outcome, says)) => (outcome, Some(says)),
        };
        Answer { outcome, says }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The library's.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        match self {
            Self::Doozer(client) => Ok(client.get(key, None).await?.map(|file| file.value)),
            Self::Etcd(client) => {
                let found = client.get(RangeRequest::key(key.to_owned())).await?;
                Ok(found.kvs.into_iter().next().map(|found| found.value))
            }
        }
    }

    /// Every key outside the cluster's own area.
    ///
    /// # Errors
    /// The library's, and a key of etcd that is no text.
    pub async fn everything(&self) -> anyhow::Result<Found> {
        let client = match self {
            Self::Doozer(client) => client,
            Self::Etcd(client) => return everything(&client.session().await?, false).await,
        };
        let mut files = client.walk("/**", None);
        let mut found = Found::new();
        while let Some(file) = files.try_next().await? {
            if !keys::is_internal(&file.path) {
                found.insert(file.path, (file.revision.0, file.value));
            }
        }
        Ok(found)
    }
}

type Told = Result<Outcome, (Outcome, String)>;

async fn write(client: &Client, key: &str, value: Option<Bytes>) -> Told {
    let written = match value {
        Some(value) => client.set(key, Revision::ANY, value).await.map(Some),
        None => client.del(key, Revision::ANY).await.map(|()| None),
    };
    match written {
        Ok(revision) => Ok(Outcome::Durable {
            revision: revision.map(|revision| revision.0),
        }),
        Err(error) => Err((outcome(&error), error.to_string())),
    }
}

async fn write_at_once(client: &Client, key: &str, value: Option<Bytes>) -> Told {
    let client = client.regular();
    let written = match value {
        Some(value) => client.set(key, Revision::ANY, value).await.map(drop),
        None => client.del(key, Revision::ANY).await,
    };
    let told = |error| (outcome(&error), error.to_string());
    written
        .map(|()| Outcome::Applied)
        .map_err(|error| told(error.into()))
}

async fn write_to_etcd_at_once(client: &etcd::Client, key: &str, value: Option<Bytes>) -> Told {
    let session = client.session().await;
    let session = session.map_err(|error| (Outcome::NotApplied, error.to_string()))?;
    let key = key.to_owned();
    let written = match value {
        Some(value) => session.call(PutRequest::new(key, value)).await.map(drop),
        None => session.call(DeleteRangeRequest::key(key)).await.map(drop),
    };
    written.map(|()| Outcome::Applied).map_err(|error| {
        let outcome = match error.may_have_happened() {
            true => Outcome::Unknown,
            false => Outcome::NotApplied,
        };
        (outcome, error.to_string())
    })
}

async fn write_to_etcd(client: &etcd::Client, key: &str, value: Option<Bytes>) -> Told {
    let key = key.to_owned();
    let written = match value {
        Some(value) => client.put(PutRequest::new(key, value)).await.map(|put| {
            Ok(Outcome::Durable {
                revision: put.header.map(|header| header.revision),
            })
        }),
        None => {
            let deleted = client.delete(DeleteRangeRequest::key(key)).await;
            deleted.map(|answer| match answer.deleted {
                // That there is nothing is in effect; what had deleted it need not be on disk.
                0 => Err((
                    Outcome::NotApplied,
                    "there was nothing to delete".to_owned(),
                )),
                _ => Ok(Outcome::Durable { revision: None }),
            })
        }
    };
    written.unwrap_or_else(|error| {
        let outcome = match (error.is_unconfirmed(), error.may_have_happened()) {
            (true, _) => Outcome::Applied,
            (false, true) => Outcome::Unknown,
            (false, false) => Outcome::NotApplied,
        };
        Err((outcome, error.to_string()))
    })
}

/// Every key of etcd outside the persisters' own area: as a majority has them, or as this one
/// member does.
///
/// # Errors
/// The session's, and a key that is no text.
pub async fn everything(session: &Session, of_this_member: bool) -> anyhow::Result<Found> {
    let mut found = Found::new();
    for key in keys_at(session, of_this_member, 0).await? {
        let text = String::from_utf8(key.key.to_vec())?;
        found.insert(text, (key.mod_revision, key.value));
    }
    Ok(found)
}

/// What [`everything`] gives, be it text or not, as it was at this revision; 0: now.
///
/// # Errors
/// The session's.
pub async fn keys_at(
    session: &Session,
    of_this_member: bool,
    revision: i64,
) -> anyhow::Result<Vec<KeyValue>> {
    let mut found = Vec::new();
    let mut page = RangeRequest {
        limit: PAGE,
        serializable: of_this_member,
        revision,
        ..RangeRequest::all()
    };
    loop {
        let answer = session.call(page.clone()).await?;
        // All pages are of one revision.
        page.revision = match page.revision {
            0 => answer.header.map_or(0, |header| header.revision),
            revision => revision,
        };
        if let Some(last) = answer.kvs.last() {
            page.key = [&last.key[..], b"\0"].concat().into();
        }
        let is_ours = |key: &KeyValue| key.key.starts_with(keys::FLAT_ROOT.as_bytes());
        found.extend(answer.kvs.into_iter().filter(|key| !is_ours(key)));
        if !answer.more {
            return Ok(found);
        }
    }
}

/// What an error of the sync client says about its write.
#[must_use]
pub fn outcome(error: &Error) -> Outcome {
    if error.is_unconfirmed() {
        Outcome::Applied
    } else if error.may_have_happened() {
        Outcome::Unknown
    } else {
        Outcome::NotApplied
    }
}

/// Whether this names a cluster that is not being restored.
pub(crate) fn is_finished(identity: &[u8]) -> bool {
    Identity::parse(identity).is_ok_and(|identity| !identity.is_unfinished())
}
