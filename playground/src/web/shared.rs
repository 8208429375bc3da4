//! What a page is served with.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::play::inner::Play;

/// How a page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key of this run, which every call must carry.
    pub key: String,
    /// The port that is listened on.
    pub port: u16,
    /// Further `NAME:PORT` under which a browser may know this server.
    pub allow_hosts: Vec<String>,
    /// Files of the page that take the place of those within this program, while they are written.
    pub assets: Option<PathBuf>,
}

/// What handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) play: Play,
    pub(super) streams: Arc<Semaphore>,
    pub(super) assets: Option<Arc<PathBuf>>,
    pub(super) end: CancellationToken,
}
