//! What a page is served with.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::play::inner::Play;
use crate::told::refusal::Refusal;
use crate::told::shown::Shown;

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
    pub(super) shown: Shown,
    /// None: what is shown can be watched alone.
    pub(super) play: Option<Play>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) assets: Option<Arc<PathBuf>>,
    pub(super) end: CancellationToken,
}

impl Shared {
    /// What can be done, if anything can.
    pub(super) fn play(&self) -> Result<&Play, Refusal> {
        let watched = || Refusal::NotNow("a drill can be watched, and no more".to_owned());
        self.play.as_ref().ok_or_else(watched)
    }
}
