//! The way into the cluster in our own process: all at once, instead of a write for every revision.
//!
//! Promise: the node is as a restore over the protocol would leave it: every key at its revision, the
//! counter at the journal's newest, the identity after it. Even keys that are older than the node's
//! own first revisions keep theirs; and the history before the newest revision is said to be
//! discarded, which it is: the keys that were restored are not all that happened.

use cairn_journal::Revision;

use crate::cluster::doozer::embedded::Embedded;
use crate::cluster::{ControlKey, Expect, Session};
use crate::error::Error;
use crate::identity::lineage::{Identity, Outcome};
use crate::restore::outcome::Summary;
use crate::restore::source::{Files, Source, Wanted};

/// Loads the whole newest state into a fresh node that nobody else talks to.
pub(super) async fn load<S: Session>(
    session: &S,
    node: &Embedded,
    source: &Source,
    wanted: Wanted,
    identity: Identity,
) -> Result<Summary, Error> {
    let newest = source.ours().newest;
    let (digest, files) = (wanted.digest, wanted.files);
    let loaded = tokio::task::block_in_place(|| node.load(text(files), newest));
    loaded.map_err(Error::Embedded)?;
    let identity = identity.finished(Outcome::Kept);
    let value = identity.to_string().into();
    let counter = session
        .write(&ControlKey::Identity, Expect::Absent, value)
        .await?;
    Ok(Summary {
        digest,
        at: newest,
        newest,
        counter,
        identity,
        written: digest.keys,
        ..Summary::default()
    })
}

fn text(files: Files) -> impl Iterator<Item = (String, Revision, bytes::Bytes)> {
    files.into_iter().map(|(path, (revision, value))| {
        // What is no text was found not to fit.
        (String::from_utf8_lossy(&path).into_owned(), revision, value)
    })
}
