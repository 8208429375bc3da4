//! What is in the cluster, compared with what should be: streamed, a key at a time.

use std::collections::HashSet;
use std::fmt::Write as _;

use bytes::Bytes;
use futures::StreamExt;

use crate::cluster::session::Session;
use crate::error::Error;
use crate::restore::claim::RestoreClaim;
use crate::restore::digest::Digest;
use crate::restore::item::Item;
use crate::restore::outcome::Shifted;
use crate::restore::progress_bar::Bar;
use crate::restore::target::Files;

/// How many keys are named.
const NAMED: usize = 10;

/// What an interrupted restore has left.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Keys that are as they should be.
    pub(super) there: HashSet<Bytes>,
    /// Those of them that are at another revision.
    pub(super) shifted: Vec<Shifted>,
    /// Keys that no restore of this state has written: the first few of them.
    pub(super) foreign: Vec<Bytes>,
}

/// Looks which keys of `files` the cluster has, and what else. `claim`: the one that is kept alive
/// meanwhile.
pub(super) async fn look<S: Session>(
    session: &S,
    files: &Files,
    mut claim: Option<&mut RestoreClaim<'_, S>>,
) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        if let Some(claim) = &mut claim {
            claim.refresh().await?;
        }
        match files.get_key_value(&live.path) {
            Some((path, key)) if key.value == live.value => {
                if key.revision != live.revision {
                    found.shifted.push(Shifted {
                        path: path.clone(),
                        before: key.revision,
                        now: live.revision,
                    });
                }
                found.there.insert(path.clone());
            }
            _ if found.foreign.len() < NAMED => found.foreign.push(live.path),
            _ => {}
        }
    }
    Ok(found)
}

impl Found {
    /// The keys that are still to be written.
    pub(super) fn missing(&self, files: Files) -> Vec<Item> {
        let missing = files
            .into_values()
            .filter(|key| !self.there.contains(&key.path));
        missing.map(Item::of).collect()
    }
}

/// The digest of all keys of the cluster, while the claim is kept alive.
pub(super) async fn digest<S: Session>(
    session: &S,
    claim: &mut RestoreClaim<'_, S>,
    expected: &Digest,
) -> Result<Digest, Error> {
    let mut progress = Bar::new("comparing", expected.keys);
    let mut digest = Digest::default();
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        digest.add(&live.path, &live.value);
        claim.refresh().await?;
        progress.one();
    }
    progress.done();
    Ok(digest)
}

/// Says in which keys the cluster differs from `files`, the first few of them.
pub(super) async fn differences<S: Session>(
    session: &S,
    mut files: Files,
) -> Result<String, Error> {
    let found = look_different(session, &mut files).await?;
    let mut text = String::new();
    let missing: Vec<Bytes> = files.into_keys().take(NAMED).collect();
    for (what, paths) in [
        ("not there", missing),
        ("another value", found.0),
        ("not in the journal", found.1),
    ] {
        if !paths.is_empty() {
            let paths: Vec<_> = paths
                .iter()
                .map(|path| String::from_utf8_lossy(path))
                .collect();
            let _ = write!(text, "; {what}: {}", paths.join(" "));
        }
    }
    Ok(text)
}

async fn look_different<S: Session>(
    session: &S,
    files: &mut Files,
) -> Result<(Vec<Bytes>, Vec<Bytes>), Error> {
    let (mut other, mut extra) = (Vec::new(), Vec::new());
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        match files.remove(&live.path) {
            Some(key) if key.value == live.value => {}
            Some(_) if other.len() < NAMED => other.push(live.path),
            None if extra.len() < NAMED => extra.push(live.path),
            _ => {}
        }
    }
    Ok((other, extra))
}
