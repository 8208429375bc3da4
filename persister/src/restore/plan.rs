//! Whether a journal and a cluster ask for a restore: pure, no I/O.
//!
//! ```text
//!  identity of the cluster                          what a restore does
//!  none, or one that is no relation of ours         begins, if the cluster has no keys
//!  ours                                             nothing: it lives
//!  finished restore of ours                         nothing: it is done
//!  restoring, the same state                        takes it up, once nobody else is at it
//!  restoring the newest state of one with less      takes it over: the highest revision wins
//!  restoring anything else                          waits
//! ```

use bytes::Bytes;
use cairn_journal::Revision;

use crate::identity::decision::{LocalHistory, RemoteCluster};
use crate::identity::lineage::{Choice, Identity, Origin, Outcome};
use crate::restore::source::Target;

/// Why there was nothing to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The journal is empty.
    EmptyJournal,
    /// The cluster is the one that the journal follows, it lives, and the newest state was asked
    /// for.
    Alive,
    /// The same, but another state was asked for than it has.
    AliveOtherwise,
    /// The cluster has been restored to just this state.
    AlreadyRestored(Identity),
    /// The cluster has been restored, to another state.
    RestoredOtherwise(Identity),
    /// Some keys of the journal were restored into the cluster.
    RestoredInPart(Identity),
    /// The cluster has keys: the first few of them.
    NotEmpty(Vec<Bytes>),
    /// The restore of another state was begun, and nobody goes on with it.
    OthersRestore(Identity),
}

impl Reason {
    /// Whether the cluster is as it was asked to be.
    #[must_use]
    pub fn is_as_wanted(&self) -> bool {
        matches!(self, Self::Alive | Self::AlreadyRestored(_))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmptyJournal => f.write_str("the journal is empty"),
            Self::Alive => {
                f.write_str("the cluster is alive, and is the one that the journal follows")
            }
            Self::AliveOtherwise => f.write_str(
                "the cluster is alive, and is the one that the journal follows: it has what was \
                 written since. \
                 --merge brings the keys of the state that you ask for back into it (try \
                 --dry-run first)",
            ),
            Self::AlreadyRestored(identity) => {
                write!(f, "the cluster has been restored already ({identity})")
            }
            Self::RestoredOtherwise(identity) => write!(
                f,
                "the cluster has been restored already, and to another state than this one \
                 ({identity}). Start it \
                 anew, empty, or look at what --merge --dry-run would do"
            ),
            Self::RestoredInPart(identity) => write!(
                f,
                "some keys of this journal were restored into the cluster already ({identity}). \
                 --merge adds those \
                 that you ask for to what it has now, at new revisions (try --dry-run first). To \
                 have several parts at \
                 the revisions that they had, start the cluster anew, empty, and name every \
                 --prefix in one restore"
            ),
            Self::NotEmpty(paths) => {
                f.write_str("the cluster is not empty; it has")?;
                for path in paths {
                    write!(f, " {}", String::from_utf8_lossy(path))?;
                }
                f.write_str(" ...")
            }
            Self::OthersRestore(identity) => write!(
                f,
                "the restore of another state was begun ({identity}), and nobody goes on with it. \
                 To complete it: {}. \
                 If its journal is lost: start the cluster anew; or, unless somebody chose that \
                 state, --accept-loss \
                 restores this one where the cluster has nothing yet that this journal lacks",
                identity.completed_by()
            ),
        }
    }
}

/// What to do with a cluster when asked to restore.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing(Reason),
    /// Begin: the identity key is as expected. Emptiness is looked at afterwards.
    Begin,
    /// Go on with what was begun under this identity.
    TakeUp(Identity, Takeover),
    /// Another restore goes first.
    Wait(Identity),
    /// Write into a cluster that has keys.
    Merge,
}

/// By what right a restore is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takeover {
    /// It is our own: whoever began it had the lock that we have.
    Own,
    /// It is of the same state, by somebody else: only if that one is dead.
    Same,
    /// Ours has more: at once.
    Overrule,
    /// Ours has less: only if that one is dead, and somebody accepts the loss.
    Lesser,
}

/// What somebody may do who is told to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Permission {
    pub(super) merge: bool,
    pub(super) accept_loss: bool,
}

pub(super) fn plan(
    local: &LocalHistory,
    target: &Target,
    remote: &RemoteCluster,
    by: &str,
    permission: Permission,
) -> Plan {
    let Some(bound_to) = &local.bound_to else {
        return Plan::Nothing(Reason::EmptyJournal);
    };
    let Some(identity) = &remote.identity else {
        return Plan::Begin;
    };
    if let Some(origin) = &identity.origin
        && let Outcome::Restoring {
            by: who, choice, ..
        } = &origin.outcome
    {
        let takeover =
            if origin.parent == *bound_to && origin.at == target.at && *choice == target.choice {
                Some(if who == by {
                    Takeover::Own
                } else {
                    Takeover::Same
                })
            } else if *choice != Choice::Newest || target.choice != Choice::Newest {
                // Somebody has chosen: who has more is not the question.
                None
            } else if outranks(local, origin) {
                Some(Takeover::Overrule)
            } else if origin.parent == *bound_to && permission.accept_loss {
                Some(Takeover::Lesser)
            } else {
                None
            };
        return match takeover {
            Some(takeover) => Plan::TakeUp(identity.clone(), takeover),
            None => Plan::Wait(identity.clone()),
        };
    }
    if identity.id == *bound_to {
        return match (&target.choice, permission.merge) {
            // It has this state, or a newer one: nothing of it is to be brought back.
            (Choice::Newest, _) => Plan::Nothing(Reason::Alive),
            (_, false) => Plan::Nothing(Reason::AliveOtherwise),
            (_, true) => Plan::Merge,
        };
    }
    if identity.descends_from(bound_to).is_some() {
        return match &identity.origin {
            Some(origin) if is_this(origin, bound_to, target) => {
                Plan::Nothing(Reason::AlreadyRestored(identity.clone()))
            }
            _ if permission.merge => Plan::Merge,
            Some(origin) if origin.parent == *bound_to && origin.outcome == Outcome::Part => {
                Plan::Nothing(Reason::RestoredInPart(identity.clone()))
            }
            _ => Plan::Nothing(Reason::RestoredOtherwise(identity.clone())),
        };
    }
    // FileHandle by a persister that attached first. If it is empty it is ours to fill.
    Plan::Begin
}

/// Whether this finished restore brought back what is intended.
fn is_this(origin: &Origin, bound_to: &str, target: &Target) -> bool {
    let is_whole = matches!(origin.outcome, Outcome::Kept | Outcome::Shifted);
    let is_whole_wanted = !matches!(target.choice, Choice::Only(_));
    origin.parent == bound_to && origin.at == target.at && is_whole && is_whole_wanted
}

/// Whether a journal has more than the one that `origin` is restored from: a higher revision of the
/// same life of the cluster, or any of a later life.
fn outranks(local: &LocalHistory, origin: &Origin) -> bool {
    if local.bound_to.as_ref() == Some(&origin.parent) {
        return local.newest > origin.at;
    }
    local.ancestors.iter().any(|a| a.id == origin.parent)
}

/// The revisions of the states that overruled restores have brought back in part, if a restore
/// takes up what `origin` says: those whose work can be told from what others wrote, as they are of
/// the same life as ours. Lowest first.
pub(super) fn overruled(
    local: &LocalHistory,
    origin: &Origin,
    takeover: Takeover,
) -> Vec<Revision> {
    let Outcome::Restoring { over, .. } = &origin.outcome else {
        return Vec::new();
    };
    if local.bound_to.as_ref() != Some(&origin.parent) {
        return Vec::new();
    }
    // Whoever overruled them may have died before their work was put right.
    let last = (takeover == Takeover::Overrule).then_some(origin.at);
    let mut all: Vec<Revision> = over.iter().copied().chain(last).collect();
    all.retain(|at| *at < local.newest);
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::lineage::Ancestor;

    const NO: Permission = Permission {
        merge: false,
        accept_loss: false,
    };

    fn local(bound_to: Option<&str>, newest: i64) -> LocalHistory {
        LocalHistory {
            bound_to: bound_to.map(str::to_owned),
            newest: Revision(newest),
            ancestors: vec![Ancestor {
                id: "older".to_owned(),
                at: Revision(5),
            }],
        }
    }

    fn decided(
        local: &LocalHistory,
        at: i64,
        choice: Choice,
        identity: Option<&str>,
        may: Permission,
    ) -> Plan {
        let remote = RemoteCluster {
            identity: identity.map(|text| Identity::parse(text.as_bytes()).expect("a test value")),
            newest: Revision(58),
            may_roll_back: false,
        };
        let target = Target {
            at: Revision(at),
            choice,
        };
        plan(local, &target, &remote, "mine", may)
    }

    fn newest(bound_to: Option<&str>, at: i64, identity: Option<&str>) -> Plan {
        decided(&local(bound_to, at), at, Choice::Newest, identity, NO)
    }

    #[test]
    fn a_fresh_cluster_is_filled_whoever_named_it() {
        assert_eq!(newest(Some("a"), 9, None), Plan::Begin);
        assert_eq!(newest(Some("a"), 9, Some("z")), Plan::Begin);
        assert_eq!(newest(None, 0, None), Plan::Nothing(Reason::EmptyJournal));
    }

    #[test]
    fn a_living_or_restored_cluster_is_left_alone() {
        assert_eq!(
            newest(Some("a"), 9, Some("a")),
            Plan::Nothing(Reason::Alive)
        );
        for identity in ["b from a at 9 kept", "b from a at 9 shifted"] {
            assert!(matches!(
                newest(Some("a"), 9, Some(identity)),
                Plan::Nothing(Reason::AlreadyRestored(_))
            ));
        }
        for identity in [
            "b from a at 12 kept",
            "b from a at 8 kept",
            "c from b at 20 kept after a@9",
            "c from b at 20 part after a@9",
        ] {
            assert!(matches!(
                newest(Some("a"), 9, Some(identity)),
                Plan::Nothing(Reason::RestoredOtherwise(_))
            ));
        }
    }

    /// The story: one part was restored, then another one was asked for, and the answer was about
    /// "another state".
    #[test]
    fn a_second_part_is_added_only_by_a_merge() {
        let us = local(Some("a"), 9);
        let only = || Choice::Only(vec!["/lib".to_owned()]);
        let claim = Some("b from a at 9 part");
        for choice in [only(), Choice::Newest] {
            let Plan::Nothing(reason) = decided(&us, 9, choice, claim, NO) else {
                panic!("it has keys");
            };
            assert!(matches!(reason, Reason::RestoredInPart(_)) && !reason.is_as_wanted());
        }
        let merge = Permission { merge: true, ..NO };
        assert_eq!(decided(&us, 9, only(), claim, merge), Plan::Merge);
    }

    #[test]
    fn an_older_state_is_never_taken_for_the_living_one() {
        let only = || Choice::Only(vec!["/app".to_owned()]);
        let us = local(Some("a"), 9);
        for choice in [Choice::Revision, only()] {
            assert_eq!(
                decided(&us, 7, choice, Some("a"), NO),
                Plan::Nothing(Reason::AliveOtherwise)
            );
        }
        let merge = Permission { merge: true, ..NO };
        assert_eq!(decided(&us, 7, only(), Some("a"), merge), Plan::Merge);
        // What the journal does not know yet must not be undone.
        assert_eq!(
            decided(&us, 9, Choice::Newest, Some("a"), merge),
            Plan::Nothing(Reason::Alive)
        );
        assert_eq!(
            decided(&us, 9, Choice::Newest, Some("b from a at 8 kept"), merge),
            Plan::Merge
        );
    }

    #[test]
    fn the_highest_revision_wins_and_the_rest_wait() {
        let claim = "b from a at 9 restoring another";
        let takeover = |bound_to, at| match newest(Some(bound_to), at, Some(claim)) {
            Plan::TakeUp(_, takeover) => Some(takeover),
            Plan::Wait(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(takeover("a", 9), Some(Takeover::Same));
        assert_eq!(takeover("a", 10), Some(Takeover::Overrule));
        assert_eq!(takeover("a", 8), None);
        assert_eq!(takeover("x", 100), None, "nothing can be compared");
        // A journal of a later life of the cluster, though its revisions began anew.
        let us = local(Some("b"), 3);
        let claim = Some("c from older at 9 restoring another");
        assert!(matches!(
            decided(&us, 3, Choice::Newest, claim, NO),
            Plan::TakeUp(_, Takeover::Overrule)
        ));
    }

    #[test]
    fn our_own_restore_is_taken_up_and_one_with_more_only_with_permission() {
        let us = local(Some("a"), 9);
        let at = |claim, may| decided(&us, 9, Choice::Newest, Some(claim), may);
        assert!(matches!(
            at("b from a at 9 restoring mine", NO),
            Plan::TakeUp(_, Takeover::Own)
        ));
        let accept_loss = Permission {
            accept_loss: true,
            ..NO
        };
        assert!(matches!(
            at("b from a at 12 restoring another", accept_loss),
            Plan::TakeUp(_, Takeover::Lesser)
        ));
    }

    #[test]
    fn whoever_takes_up_a_restore_inherits_what_it_had_overruled() {
        let us = local(Some("a"), 9);
        let over = |claim: &str, takeover| {
            let identity = Identity::parse(claim.as_bytes()).expect("a test value");
            let origin = identity.origin.expect("a test value");
            let over = overruled(&us, &origin, takeover);
            over.iter().map(|at| at.0).collect::<Vec<_>>()
        };
        let claim = "b from a at 8 restoring another";
        assert_eq!(over(claim, Takeover::Overrule), [8]);
        let claim = "b from a at 8 restoring another over 5,7";
        assert_eq!(over(claim, Takeover::Overrule), [5, 7, 8]);
        let claim = "b from a at 9 restoring another over 5,7";
        assert_eq!(over(claim, Takeover::Own), [5, 7]);
        assert_eq!(over(claim, Takeover::Same), [5, 7]);
        let claim = "b from older at 8 restoring another over 5,7";
        assert!(over(claim, Takeover::Overrule).is_empty(), "another life");
    }

    #[test]
    fn what_somebody_has_chosen_is_not_overruled() {
        let us = local(Some("a"), 9);
        for claim in [
            "b from a at 7 restoring another chosen",
            "b from a at 7 restoring another only /app",
        ] {
            let plan = decided(&us, 9, Choice::Newest, Some(claim), NO);
            assert!(matches!(plan, Plan::Wait(_)), "{claim}");
        }
        let claim = Some("b from a at 7 restoring another chosen");
        assert!(matches!(
            decided(&us, 7, Choice::Revision, claim, NO),
            Plan::TakeUp(_, Takeover::Same)
        ));
        let claim = Some("b from a at 7 restoring another");
        assert!(matches!(
            decided(&us, 5, Choice::Revision, claim, NO),
            Plan::Wait(_)
        ));
    }
}
