//! An identity names a cluster, and the restores from which it came. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_journal::{Revision, Timeline, Timestamp};
use cairn_protocol::owner::STALE_AFTER;

use crate::cluster::control::Id;

/// A cluster's identity: the value of one key in it, written by the first persister or by a
/// restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Names one life of one cluster.
    pub id: String,
    /// Where its state came from, if it was restored.
    pub origin: Option<Origin>,
}

/// The restore that gave a cluster its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The identity of the cluster that was lost.
    pub parent: String,
    /// The newest revision of it that was restored.
    pub at: Revision,
    /// How the restore went.
    pub outcome: Outcome,
    /// Where the parent came from, newest first: at most [`ANCESTORS`].
    pub ancestors: Vec<Ancestor>,
}

impl Origin {
    /// Up to which revision everything lives on: of a part, nothing can be said.
    fn common(&self) -> Revision {
        match self.outcome {
            Outcome::Part => Revision::NONE,
            _ => self.at,
        }
    }
}

/// A cluster from which others descend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its identity.
    pub id: String,
    /// Its newest revision that was restored.
    pub at: Revision,
}

/// How many generations an identity names besides the parent. A journal that was away for more
/// restores than that is refused, not harmed.
pub const ANCESTORS: usize = 7;

// Each with `@`, a revision of up to 20 digits and a space fits into the journal's record of a
// timeline, whose lineage may have 512 bytes.
const _: () = assert!((ANCESTORS + 1) * (36 + 1 + 20 + 1) <= 512);

/// How far a restore came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not begun: bids are awaited, and nothing has been written.
    Bidding(Bid),
    /// Still running, or interrupted: the state is incomplete.
    Restoring {
        /// Who restores it: the UUID of the journal, and where the lock is that is held meanwhile.
        by: String,
        /// What is restored.
        choice: Choice,
    },
    /// Complete, and every key is at the revision that it had.
    Kept,
    /// As kept, and the counter goes on at this revision. Those between never were: clients may
    /// have seen lost revisions of these numbers.
    Jumped(Revision),
    /// Complete, but some keys are at newer revisions than they had.
    Shifted,
    /// Some keys only were wanted, and are there.
    Part,
}

/// The best bid so far for restoring the newest state of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bid {
    /// Who bids, as in [`Outcome::Restoring`].
    pub by: String,
    /// How many seconds it is to stand before its bidder begins; `None`: until all of `of` have
    /// bid.
    pub seconds: Option<u64>,
    /// The persisters that have bid, or have seen that others bid more.
    pub met: BTreeSet<Id>,
    /// The persisters that are waited for.
    pub of: BTreeSet<Id>,
}

impl Bid {
    /// The persisters that are still waited for.
    pub fn missing(&self) -> impl Iterator<Item = Id> {
        self.of.difference(&self.met).copied()
    }

    /// How long it may stay as it is while its bidder lives; `None`: as long as it likes.
    #[must_use]
    pub fn stands_for(&self) -> Option<Duration> {
        if !self.of.is_empty() && self.missing().next().is_none() {
            return Some(STALE_AFTER);
        }
        let seconds = Duration::from_secs(self.seconds?);
        Some(seconds.saturating_add(STALE_AFTER))
    }
}

/// What a restore is to bring back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The newest state of its journal; unless another journal has more, then that one's.
    #[default]
    Newest,
    /// An older state, because somebody asked for that one.
    Revision,
    /// Only these keys and what is below them, because somebody asked for that.
    Only(Vec<String>),
}

impl Outcome {
    /// Whether all is there, and at the revisions that it had.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept | Self::Jumped(_))
    }

    /// The revision at which the counter goes on, if it jumped.
    #[must_use]
    pub fn resumes_at(&self) -> Option<Revision> {
        match self {
            Self::Jumped(at) => Some(*at),
            _ => None,
        }
    }
}

impl Identity {
    /// A new identity for a cluster that has none.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            origin: None,
        }
    }

    /// This identity with its restore ended in `outcome`.
    #[must_use]
    pub fn finished(mut self, outcome: Outcome) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.outcome = outcome;
        }
        self
    }

    /// Whether a restore is to give the cluster its state, and has not done so yet.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        let outcome = self.origin.as_ref().map(|origin| &origin.outcome);
        matches!(
            outcome,
            Some(Outcome::Bidding(_) | Outcome::Restoring { .. })
        )
    }

    /// The bid, if bids are awaited.
    #[must_use]
    pub fn bid(&self) -> Option<&Bid> {
        match &self.origin.as_ref()?.outcome {
            Outcome::Bidding(bid) => Some(bid),
            _ => None,
        }
    }

    /// Tells the operator what completes a restore that is not finished.
    #[must_use]
    pub fn completed_by(&self) -> &'static str {
        match self.origin.as_ref().map(|origin| &origin.outcome) {
            Some(Outcome::Bidding(_)) => {
                "bids are still awaited; the persister that has bid most begins by itself. If it \
                 is dead, start it again with -r"
            }
            Some(Outcome::Restoring {
                choice: Choice::Revision | Choice::Only(_),
                ..
            }) => {
                "somebody chose this state with `persister restore`. If that process is dead, run \
                 the same command again (with --take-over, if the journal was in use), or start \
                 the cluster anew"
            }
            _ => {
                "if its process is dead, start that persister again with -r. If it never comes \
                 back, --take-over completes its work from another journal: only if that process \
                 is dead, because it would go on writing"
            }
        }
    }

    /// The revision of the cluster `id` whose state lives on in this one, if it descends from it.
    #[must_use]
    pub fn descends_from(&self, id: &str) -> Option<Revision> {
        let origin = self.origin.as_ref()?;
        if origin.parent == id {
            return Some(origin.common());
        }
        let ancestor = origin.ancestors.iter().find(|ancestor| ancestor.id == id)?;
        Some(ancestor.at)
    }

    /// The journal's record of this identity. Its parent is the whole lineage, newest first, as
    /// [`Ancestor`]s.
    #[must_use]
    pub fn timeline(&self, observed_at: Timestamp) -> Timeline {
        let lineage = self.origin.as_ref().map(|origin| {
            let parent = Ancestor {
                id: origin.parent.clone(),
                at: origin.common(),
            };
            let all = std::iter::once(&parent).chain(&origin.ancestors);
            all.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        });
        Timeline {
            id: self.id.clone(),
            parent: lineage,
            at: self.origin.as_ref().map_or(Revision(0), |o| o.at),
            kept: self.origin.as_ref().is_none_or(|o| o.outcome.is_kept()),
            observed_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: `-r` was advised where nothing but the same command could complete what was
    /// chosen.
    #[test]
    fn a_choice_is_completed_by_choosing_it_again() {
        for (mark, by) in [
            ("b from a at 90 bidding j for 2s", "with -r"),
            ("b from a at 90 restoring j", "with -r"),
            ("b from a at 90 restoring j chosen", "the same command"),
            ("b from a at 90 restoring j only /app", "the same command"),
        ] {
            let identity = Identity::parse(mark.as_bytes()).expect("a valid form");
            assert!(identity.completed_by().contains(by), "{mark}");
        }
    }
}
