//! What members of etcd say together of their history: kept while all is well, and asked again
//! after a restore.
//!
//! HashKV covers every revision of every key since the compacted one, so it tells more than the
//! hash of keys and values: that also the way there is the same. It can be compared only at the
//! same last revision and the same compacted one.

use futures::future::join_all;

use crate::play::inner::{Play, lock};
use crate::play::looks::Status;
use crate::told::state::{Agreed, HashKv};
use crate::world::decide::Condition;

impl Play {
    /// Keeps what all members that run say, if they say the same, at a revision that is on disk:
    /// whatever is lost, a journal can tell that moment.
    pub(super) async fn note_agreement(&self) {
        let Some(etcd) = &self.0.etcd else { return };
        let up = (self.0.persisters.iter()).filter(|it| it.condition() == Condition::Up);
        let durable = up.filter_map(|it| it.noted().persister.status);
        let newest = durable.map(|it: Status| it.durable_revision).max();
        // One that has just been started knows of none; to a member, 0 means the newest.
        let Some(revision) = newest.filter(|revision| *revision > 0) else {
            return;
        };
        let known = *lock(&etcd.agreed);
        if known.is_some_and(|known| known.said.revision == revision) {
            return;
        }
        let said = self.hash_kv(revision).await;
        let Some(agreed) = together(&said).filter(|it| it.members * 2 > self.0.nodes.len()) else {
            return;
        };
        *lock(&etcd.agreed) = Some(agreed);
    }

    /// What each member that runs says of the history up to a revision.
    pub(super) async fn hash_kv(&self, revision: i64) -> Vec<Option<HashKv>> {
        let up = self.0.nodes.iter().zip(&self.0.eyes);
        let up = up.filter(|(node, _)| node.condition() == Condition::Up);
        join_all(up.map(|(_, eye)| eye.hash_kv(revision))).await
    }
}

/// What all of them said, if it was the same.
pub(super) fn together(said: &[Option<HashKv>]) -> Option<Agreed> {
    let first = (*said.first()?)?;
    let is_same = said.iter().all(|one| *one == Some(first));
    is_same.then_some(Agreed {
        said: first,
        members: said.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_agree_if_all_say_the_same() {
        let said = |hash| {
            Some(HashKv {
                hash,
                revision: 7,
                compacted: -1,
            })
        };
        assert_eq!(together(&[said(1), said(1)]).map(|it| it.members), Some(2));
        for differ in [&[said(1), said(2)][..], &[said(1), None], &[None], &[]] {
            assert_eq!(together(differ), None);
        }
    }
}
