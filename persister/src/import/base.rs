//! `persister --base FILE`: a first start that begins with the history of a snapshot file.
//!
//! Promise: nothing is imported unless the file is of the cluster that is there. It is if both have
//! one name. A cluster that no persister was beside when the file was saved has none there: then
//! keys that the cluster has not changed since must be in the file, with the same revisions and
//! values, and none may differ.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use cairn_etcd_snapshot::Change;
use cairn_journal::{Options, Revision};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::attach::{StopWith, sides};
use crate::cluster::backoff::Backoff;
use crate::cluster::capabilities::Restores;
use crate::cluster::control::ControlKey;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::file_error::FileError;
use crate::identity::lineage::Identity;
use crate::import::write::{Look, is_new, newest, write};

/// How many keys are compared.
const COMPARED: usize = 10_000;

/// Makes the journal in `dir` from `file`, if there is none yet; waits for the cluster as long as
/// it takes. `false` if cancelled.
///
/// # Errors
/// The file's, the journal's; [`FileError::OtherCluster`].
pub(crate) async fn begin<C: Cluster>(
    cluster: &C,
    file: &Path,
    dir: &Path,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<bool, Error> {
    if !is_new(dir)? {
        tracing::info!("--base is for a first start: the journal is there already");
        return Ok(true);
    }
    let stop = StopWith::new(cancel);
    let look = tokio::task::block_in_place(|| Look::at(file, &stop.stop))?;
    let mut backoff = Backoff::new();
    loop {
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(false),
            tried = attempt(cluster, &look, file) => tried,
        };
        let why = match tried {
            Ok(Some(identity)) => {
                let made = || write(&look, Some(&identity), dir, options, &stop.stop);
                let report = tokio::task::block_in_place(made)?;
                tracing::info!(
                    from = report.history_from,
                    to = report.newest,
                    keys = report.keys,
                    "the journal begins with the history of {}",
                    file.display()
                );
                return Ok(true);
            }
            Ok(None) => "the cluster is being restored".to_owned(),
            Err(error) if error.may_pass() => error.to_string(),
            Err(error) => return Err(error),
        };
        let pause = backoff.pause();
        tracing::warn!(why, "cannot begin yet; trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Ok(false),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The identity that the journal is bound to; `None`: the cluster has no whole one yet.
async fn attempt<C: Cluster>(
    cluster: &C,
    look: &Look,
    file: &Path,
) -> Result<Option<Identity>, Error> {
    let session = cluster.open().await?;
    let other = |why: String| {
        Err(Error::from(FileError::OtherCluster {
            file: file.to_owned(),
            why,
        }))
    };
    if !matches!(session.capabilities().restores, Restores::Files(_)) {
        return other("it is of etcd, and the cluster is not".to_owned());
    }
    let (remote, now) = sides::remote_cluster(&session).await?;
    let upto = Revision(look.window.revision);
    if remote
        .identity
        .as_ref()
        .is_some_and(Identity::is_unfinished)
    {
        return Ok(None);
    }
    if let Some(of_file) = &look.identity {
        let is_ours =
            |there: &Identity| there.id == of_file.id || there.descends_from(&of_file.id).is_some();
        return match remote.identity {
            // What became of the cluster since, the attach that follows finds out.
            Some(there) if is_ours(&there) => Ok(Some(of_file.clone())),
            Some(there) => other(format!("it is of cluster {}, not of {there}", of_file.id)),
            None => other(format!(
                "it is of cluster {}, and this has no name",
                of_file.id
            )),
        };
    }
    if now < upto {
        return other(format!(
            "it ends at revision {upto}, and the cluster is at {now}"
        ));
    }
    if let Some(why) = compare(&session, look).await? {
        return other(why);
    }
    if let Some(identity) = remote.identity {
        return Ok(Some(identity));
    }
    let identity = Identity::generate();
    let name = identity.to_string().into();
    match session
        .write(&ControlKey::Identity, Expect::Absent, name)
        .await
    {
        Ok(_) => Ok(Some(identity)),
        Err(ClusterError::Conflict(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why the file is not of this cluster, if so.
async fn compare<S: Session>(session: &S, look: &Look) -> Result<Option<String>, Error> {
    let upto = Revision(look.window.revision);
    let mut unchanged: HashMap<Bytes, (Revision, Bytes)> = HashMap::new();
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        if live.revision <= upto && unchanged.len() < COMPARED {
            unchanged.insert(live.path, (live.revision, live.value));
        }
    }
    if unchanged.is_empty() {
        return Ok(Some(
            "it names no cluster, and all that it has was overwritten since: nothing shows that \
             it is of this one"
                .to_owned(),
        ));
    }
    let differ = |key: &[u8]| format!("{} differs", key.escape_ascii());
    let compared = || -> Result<Option<String>, FileError> {
        for record in newest(&look.snapshot)? {
            let record = record.map_err(FileError::Source)?;
            let Change::Put(put) = record.change else {
                continue;
            };
            if let Some(there) = unchanged.remove(&put.key)
                && there != (Revision(record.at.revision), put.value)
            {
                return Ok(Some(differ(&put.key)));
            }
        }
        let missing = unchanged.keys().next();
        Ok(missing.map(|key| format!("{} is not in it", key.escape_ascii())))
    };
    Ok(tokio::task::block_in_place(compared)?)
}
