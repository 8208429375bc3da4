//! The doozer protocol as an engine, over the wire.

pub(super) mod event;
pub(super) mod names;
mod refusal;
pub mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_client::{Client, Options, Uri};

use crate::cluster::control::Id;
use crate::cluster::doozer::session::{DoozerSession, FOLLOW_WINDOW, LIST_WINDOW};
use crate::cluster::error::Result;
use crate::cluster::session::Cluster;

/// A doozer cluster, known by its URI.
#[derive(Clone, Debug)]
pub struct Doozer {
    uri: Uri,
    id: Id,
    /// How many sessions were opened.
    opened: Arc<AtomicUsize>,
}

impl Doozer {
    /// The cluster at `uri`, for the persister `id`: whose owner key a follower reports.
    #[must_use]
    pub fn new(uri: Uri, id: Id) -> Self {
        Self {
            uri,
            id,
            opened: Arc::default(),
        }
    }
}

impl Cluster for Doozer {
    type Session = DoozerSession;

    async fn open(&self) -> Result<DoozerSession> {
        let options = Options {
            watch_window: FOLLOW_WINDOW,
            list_window: LIST_WINDOW,
            reconnect: false,
            first_address: self.opened.fetch_add(1, Ordering::Relaxed),
            ..Options::default()
        };
        let client = Client::connect_with(&self.uri, options).await?;
        Ok(DoozerSession::new(client, self.id))
    }

    fn nodes(&self) -> Vec<(String, Self)> {
        let all = &self.uri.addresses;
        if all.len() < 2 {
            return Vec::new();
        }
        let node = |address: &String| {
            let uri = Uri {
                addresses: vec![address.clone()],
                ..self.uri.clone()
            };
            (address.clone(), Self::new(uri, self.id))
        };
        all.iter().map(node).collect()
    }
}
