//! A connection to one node, whatever it speaks: what a look asks of it.

use std::time::Duration;

use cairn_client::{Client, Options, Revision, Uri};
use cairn_etcd::wire::{HashKvRequest, RangeRequest, StatusRequest};
use cairn_etcd::{Session, Target};
use cairn_protocol::keys;
use futures::TryStreamExt as _;

use crate::engine::{is_finished, keys_at};
use crate::moment::Keys;
use crate::told::state::HashKv;

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The revision that it has reached.
    pub(super) revision: i64,
    /// Whether its cluster can be used: it has a name, and is not being restored; it has a leader.
    pub(super) is_whole: bool,
    /// Whether it leads, where nodes have a leader.
    pub(super) leads: Option<bool>,
    /// Its version, where it is another program's.
    pub(super) version: Option<String>,
}

/// A connection to one node, which does not come back when it is lost.
pub(super) enum Connection {
    Doozer(Client),
    Etcd(Box<Session>),
}

impl Connection {
    /// To the only node that this URI leads to.
    pub(super) async fn open(uri: &str, limit: Duration) -> anyhow::Result<Self> {
        if uri.starts_with("etcd") {
            let target = Target::new(&uri.parse()?, &cairn_etcd::Environment::default())?;
            let options = cairn_etcd::Options {
                connect_timeout: limit,
                request_timeout: limit,
                require_leader: false,
                ..cairn_etcd::Options::default()
            };
            let session = cairn_etcd::Cluster::new(target, options).open().await?;
            return Ok(Self::Etcd(Box::new(session)));
        }
        let uri: Uri = uri.parse()?;
        let options = Options {
            request_timeout: limit,
            connect_timeout: limit,
            reconnect: false,
            ..Options::default()
        };
        Ok(Self::Doozer(Client::connect_with(&uri, options).await?))
    }

    pub(super) async fn say(&self) -> anyhow::Result<Said> {
        match self {
            Self::Doozer(client) => {
                let revision = client.rev().await?.0;
                let identity = client.get(keys::IDENTITY, None).await?;
                Ok(Said {
                    revision,
                    is_whole: identity.is_some_and(|file| is_finished(&file.value)),
                    ..Said::default()
                })
            }
            Self::Etcd(session) => {
                let status = session.call(StatusRequest {}).await?;
                let header = status.header.unwrap_or_default();
                Ok(Said {
                    revision: header.revision,
                    is_whole: status.leader != 0,
                    leads: Some(status.leader == header.member_id),
                    version: Some(status.version),
                })
            }
        }
    }

    /// Waits until this node has everything that the cluster had accepted when it was asked.
    pub(super) async fn catch_up(&self) -> anyhow::Result<()> {
        if let Self::Etcd(session) = self {
            let one = RangeRequest {
                limit: 1,
                ..RangeRequest::all()
            };
            session.call(one).await?;
        }
        Ok(())
    }

    /// What a member of etcd says of the whole history up to a revision.
    pub(super) async fn hash_kv(&self, revision: i64) -> anyhow::Result<HashKv> {
        let Self::Etcd(session) = self else {
            anyhow::bail!("only etcd has a hash of its own");
        };
        let said = session.call(HashKvRequest { revision }).await?;
        Ok(HashKv {
            hash: said.hash,
            revision,
            compacted: said.compact_revision,
        })
    }

    /// Every key outside the cluster's own area, as this node has it at a revision.
    pub(super) async fn everything(&self, at: i64) -> anyhow::Result<Keys> {
        let client = match self {
            Self::Doozer(client) => client,
            Self::Etcd(session) => {
                let keys = keys_at(session, true, at).await?.into_iter();
                return Ok(keys.map(|it| (it.key, it.mod_revision, it.value)).collect());
            }
        };
        let mut files = client.walk("/**", Some(Revision(at)));
        let mut found = Keys::new();
        while let Some(file) = files.try_next().await? {
            if !keys::is_internal(&file.path) {
                found.push((file.path.into(), file.revision.0, file.value));
            }
        }
        Ok(found)
    }
}
