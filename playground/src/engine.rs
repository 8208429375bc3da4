//! A client of a cluster, whatever protocol it speaks: what writers, audits and probes need of one.

use std::time::Duration;

use bytes::Bytes;
use cairn_client::{Options, Revision, Uri};
use cairn_protocol::keys;
use cairn_sync_client::{Client, Durability, Error};
use futures::TryStreamExt as _;

use crate::ledger::outcome::Outcome;
use crate::ledger::write::Found;

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
}

impl Engine {
    /// Connects, with the durability that the URI asks for.
    ///
    /// # Errors
    /// A text that is no URI, or a cluster that does not answer.
    pub async fn connect(uri: &str, timeout: Duration) -> anyhow::Result<Self> {
        let uri: Uri = uri.parse()?;
        let asked = Durability::parse(uri.persist.as_deref(), uri.require.as_deref())?;
        let durability = Durability { timeout, ..asked };
        let options = Options {
            request_timeout: timeout,
            connect_timeout: timeout,
            // A person, or an audit, waits for the cluster to come back.
            backoff_max: Duration::from_millis(200),
            ..Options::default()
        };
        let client = Client::connect_durable_with(&uri, durability, options).await?;
        Ok(Self::Doozer(client))
    }

    /// Sets a key, or deletes it, and waits for the disks.
    pub async fn write(&self, key: &str, value: Option<Bytes>) -> Answer {
        let Self::Doozer(client) = self;
        let written = match value {
            Some(value) => client.set(key, Revision::ANY, value).await.map(Some),
            None => client.del(key, Revision::ANY).await.map(|()| None),
        };
        match written {
            Ok(revision) => Answer {
                outcome: Outcome::Durable {
                    revision: revision.map(|revision| revision.0),
                },
                says: None,
            },
            Err(error) => Answer {
                outcome: outcome(&error),
                says: Some(error.to_string()),
            },
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The library's.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        let Self::Doozer(client) = self;
        Ok(client.get(key, None).await?.map(|file| file.value))
    }

    /// Every key outside the cluster's own area.
    ///
    /// # Errors
    /// The library's.
    pub async fn everything(&self) -> anyhow::Result<Found> {
        let Self::Doozer(client) = self;
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
