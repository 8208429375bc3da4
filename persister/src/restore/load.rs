//! The way into the cluster in our own process: all at once, instead of a write for every revision.
//!
//! Promise: the node is as a restore over the protocol would leave it: every key at its revision,
//! the counter at the journal's newest, the identity after it. Even keys that are older than the
//! node's own first revisions keep theirs; and the history before the newest revision is said to be
//! discarded, which it is: the keys that were restored are not all that happened.

use crate::cluster::control::ControlKey;
use crate::cluster::followed::{Attributes, Live};
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::identity::lineage::{Identity, Outcome};
use crate::restore::outcome::Summary;
use crate::restore::source::{Source, TargetState};
use crate::restore::target::Files;

/// Loads the whole newest state into a fresh node that nobody else talks to.
pub(super) async fn load<S: Session>(
    session: &S,
    source: &Source,
    wanted: TargetState,
    identity: Identity,
) -> Result<Summary, Error> {
    let newest = source.local().newest;
    let (digest, files) = (wanted.digest, wanted.files);
    tokio::task::block_in_place(|| session.load(live(files), newest))?;
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

fn live(files: Files) -> impl Iterator<Item = Live> {
    files.into_values().map(|key| Live {
        path: key.path,
        revision: key.revision,
        value: key.value,
        attributes: Attributes::default(),
    })
}
