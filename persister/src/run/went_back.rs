//! A cluster that went back while somebody has allowed writes into it.

use std::sync::Arc;

use cairn_journal::Journal;

use crate::cluster::backoff::Backoff;
use crate::cluster::session::Cluster;
use crate::error::Error;
use crate::identity::decision::Refusal;
use crate::restore::put_back::{PutBack, PuttingBack, put_back};
use crate::run::Incarnation;

impl<C: Cluster> Incarnation<'_, C> {
    /// Whether the cluster went back, and may be written into.
    pub(super) fn puts_back(&self, error: &Error) -> bool {
        let config = self.persist.config;
        let Error::Refused { refusal, .. } = error else {
            return false;
        };
        let went_back = matches!(**refusal, Refusal::RolledBack { .. });
        config.restore && config.restore_options.by_writes && went_back
    }

    /// Puts back what the cluster lost; `false` if cancelled. If that is not proven, it stays
    /// `refused`.
    pub(super) async fn put_back(
        &self,
        journal: &Arc<Journal>,
        refused: Error,
    ) -> Result<bool, Error> {
        let tried = async {
            let session = self.cluster.open().await?;
            put_back(&session, journal, self.persist.config.id).await
        };
        let tried = tokio::select! {
            biased;
            () = self.persist.cancel.cancelled() => return Ok(false),
            tried = tried => tried,
        };
        match tried {
            Ok(PuttingBack::Done(summary)) => tell(&summary),
            Ok(PuttingBack::Again) => {}
            Ok(PuttingBack::Refused(why)) => {
                tracing::error!("nothing is put back: {why}");
                return Err(refused);
            }
            Err(error) if error.may_pass() => tracing::warn!(%error, "not put back yet"),
            Err(error) => return Err(error),
        }
        // Attaches anew; not at once, because somebody may be in our way.
        Ok(self.rest(Backoff::new().pause()).await)
    }
}

fn tell(summary: &PutBack) {
    let PutBack {
        common,
        newest,
        put,
        deleted,
        same,
        left,
        leases,
        identity,
    } = summary;
    for path in left {
        tracing::warn!(
            "{} was written in the cluster since it went back, and stays as it is there",
            path.escape_ascii()
        );
    }
    for path in &leases.named {
        tracing::warn!("{} came back without its lease", path.escape_ascii());
    }
    tracing::warn!(
        cluster = %identity, put, deleted, same, left = left.len(), detached = leases.detached,
        "the cluster has what this journal holds of revisions {} to {newest}: {put} keys were put \
         and {deleted} deleted, {same} were so already, {} stay as somebody wrote them since",
        common.next(), left.len()
    );
}
