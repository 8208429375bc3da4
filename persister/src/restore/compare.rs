//! What is in the cluster, compared with what should be: streamed, a key at a time.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use cairn_journal::Revision;
use futures::StreamExt;

use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::restore::apply::Item;
use crate::restore::claim::RestoreClaim;
use crate::restore::digest::Digest;
use crate::restore::outcome::Shifted;
use crate::restore::progress_bar::Bar;
use crate::restore::source::Files;

/// How many keys are named.
const NAMED: usize = 10;

/// Keys and values that overruled restores were bringing back.
pub(super) type Before = BTreeSet<(Bytes, Bytes)>;

/// What an interrupted restore has left.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Keys that are as they should be.
    pub(super) there: u64,
    /// Those of them that are at another revision.
    pub(super) shifted: Vec<Shifted>,
    /// Keys that only an overruled restore can have written, and that are to go.
    pub(super) deletes: Vec<(Bytes, Revision)>,
    /// Keys that are to be overwritten, for the same reason.
    pub(super) overwrites: Vec<(Bytes, Revision)>,
    /// Keys that no restore has written: the first few of them.
    pub(super) foreign: Vec<Bytes>,
}

/// Looks at all keys of the cluster, and takes those out of `files` that are there already.
/// `before`: what overruled restores were bringing back.
/// `claim`: the one that is kept alive meanwhile.
pub(super) async fn look<S: Session>(
    session: &S,
    files: &mut Files,
    before: &Before,
    mut claim: Option<&mut RestoreClaim<'_, S>>,
) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        if let Some(claim) = &mut claim {
            claim.refresh().await?;
        }
        let is_left_over = || before.contains(&(live.path.clone(), live.value.clone()));
        match files.get(&live.path) {
            Some((revision, value)) if *value == live.value => {
                if *revision != live.revision {
                    found.shifted.push(Shifted {
                        path: live.path.clone(),
                        before: *revision,
                        now: live.revision,
                    });
                }
                files.remove(&live.path);
                found.there += 1;
            }
            Some(_) if is_left_over() => found.overwrites.push((live.path, live.revision)),
            None if is_left_over() => found.deletes.push((live.path, live.revision)),
            _ if found.foreign.len() < NAMED => found.foreign.push(live.path),
            _ => {}
        }
    }
    Ok(found)
}

impl Found {
    /// The keys that are still to be written.
    pub(super) fn items(&self, files: Files) -> Vec<Item> {
        let overwrites: std::collections::HashMap<&Bytes, Revision> = self
            .overwrites
            .iter()
            .map(|(path, at)| (path, *at))
            .collect();
        let item = |(path, (revision, value))| Item {
            expect: overwrites
                .get(&path)
                .map_or(Expect::Absent, |at| Expect::At(*at)),
            path,
            revision,
            value,
        };
        files.into_iter().map(item).collect()
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
            Some((_, value)) if value == live.value => {}
            Some(_) if other.len() < NAMED => other.push(live.path),
            None if extra.len() < NAMED => extra.push(live.path),
            _ => {}
        }
    }
    Ok((other, extra))
}
