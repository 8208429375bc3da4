//! A command on one node or persister.

use std::sync::Arc;
use std::time::Duration;

use crate::play::inner::Play;
use crate::play::loss::Lost;
use crate::play::target::{Target, Verb};
use crate::play::whole::failed;
use crate::told::feed::Kind;
use crate::told::refusal::Refusal;

/// How long a command may take. A process that is not ready by then goes on starting.
const LIMIT: Duration = Duration::from_secs(10);

impl Play {
    /// Why this cannot be done to it now.
    pub(super) fn refuses(&self, target: &Target, verb: Verb) -> Option<String> {
        if let Some(why) = target.refuses(verb) {
            return Some(why);
        }
        let etcd = self.0.etcd.as_ref()?;
        let is_node = target.kind == Kind::Node;
        (is_node && verb == Verb::Start && etcd.is_lost()).then(|| {
            "too few nodes have their data: no majority could take it in. Press Restore".to_owned()
        })
    }

    /// Does it.
    pub(super) async fn single(&self, id: &str, verb: Verb) -> Result<String, Refusal> {
        let target = self.target(id)?;
        // A node that keeps everything in memory takes it along.
        let takes_all = self.0.etcd.is_none()
            && target.kind == Kind::Node
            && matches!(verb, Verb::Kill | Verb::Wipe);
        let before = match takes_all {
            true => self.last_look().await,
            false => None,
        };
        if verb == Verb::Start && target.kind == Kind::Node {
            self.note_loss_now();
            self.nobody_waits().await?;
        }
        if let (Some(etcd), Verb::Start, Kind::Node) = (&self.0.etcd, verb, target.kind) {
            etcd.start(&[Arc::clone(&target.machine)])?;
            return Ok(format!("{id} was started"));
        }
        let done = tokio::time::timeout(LIMIT, target.machine.run(verb.command())).await;
        if takes_all {
            self.lost(Lost::Everything, before);
        }
        self.note_loss_now();
        match (done, verb) {
            (Ok(Ok(())), Verb::Start) if self.is_lost() => match self.prove().await {
                Ok(says) => Ok(format!("{id} was started. {says}")),
                // Perhaps somebody else has to be started first.
                Err(why) => Ok(format!("{id} was started. {why}")),
            },
            (Ok(Ok(())), verb) => Ok(match verb {
                Verb::Kill => format!("{id} was killed"),
                Verb::Pause => format!("{id} was paused"),
                Verb::Resume => format!("{id} goes on"),
                Verb::Start => format!("{id} was started"),
                Verb::Wipe => format!("{id} was killed, and its disk deleted"),
            }),
            (Ok(Err(error)), _) => Err(failed(error)),
            (Err(_), Verb::Start) => Ok(format!("{id} runs, and is not ready yet")),
            (Err(_), _) => Err(Refusal::Failed(format!("{id}: not within {LIMIT:?}"))),
        }
    }
}
