//! May a journal follow this cluster? What each says of itself, and the answer.
//!
//! The promise: [`decide`] never answers "follow" unless the cluster's identity is the journal's
//! own or descends from it by a restore that is complete.

use cairn_journal::Revision;

use crate::identity::lineage::{ANCESTORS, Ancestor, Identity, Origin, Outcome};

/// The journal's side of an attach: which cluster it follows, and how far.
#[derive(Clone, Debug, Default)]
pub struct LocalHistory {
    /// The identity of the cluster it followed; `None` if it never followed one.
    pub bound_to: Option<String>,
    /// The newest revision that it covers; 0 in an empty journal.
    pub newest: Revision,
    /// Where that cluster came from, newest first.
    pub ancestors: Vec<Ancestor>,
}

impl LocalHistory {
    /// The identity of a cluster `id` that is to get the state at `at` from a journal that knows
    /// this.
    #[must_use]
    pub fn claim(&self, id: String, at: Revision, outcome: Outcome) -> Identity {
        Identity {
            id,
            origin: Some(Origin {
                parent: self.bound_to.clone().unwrap_or_default(),
                at,
                outcome,
                ancestors: self.ancestors.iter().take(ANCESTORS).cloned().collect(),
            }),
        }
    }
}

impl LocalHistory {
    /// A new identity for our cluster, which has gone back to `common` and goes on from there.
    #[must_use]
    pub fn went_on_without(&self, common: Revision) -> Identity {
        Identity {
            origin: Some(Origin {
                parent: self.bound_to.clone().unwrap_or_default(),
                at: common,
                outcome: Outcome::Shifted,
                ancestors: self.ancestors.iter().take(ANCESTORS).cloned().collect(),
            }),
            ..Identity::generate()
        }
    }
}

/// The cluster's side of an attach: which one it is, and how far it is.
#[derive(Clone, Debug)]
pub struct RemoteCluster {
    /// Its identity; `None` if no persister ever attached.
    pub identity: Option<Identity>,
    /// The newest revision of the node we reached.
    pub newest: Revision,
    /// Whether a lower revision than one that was seen before is proof of a loss, and not of a node
    /// that lags.
    pub may_roll_back: bool,
}

/// The answer to an attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A first attach to a cluster that nobody has named: name it, bind the journal, follow.
    Name,
    /// A first attach to a cluster that has a name: bind the journal to it, follow.
    Bind(Identity),
    /// Our cluster: follow from the next revision.
    Resume,
    /// Our cluster, but this node is behind what we have on disk: wait for it, or take another.
    Behind,
    /// Our cluster, but it has gone back: an operator restored a backup of it, or it lost writes
    /// that it had acknowledged. Its revisions beyond `common`, at the latest, will mean something
    /// else than ours.
    RolledBack {
        /// The newest revision that it can have in common with the journal.
        common: Revision,
    },
    /// A restore of our cluster that kept all revisions and holds exactly what we have: bind,
    /// follow.
    Continue(Identity),
    /// A restore of our cluster whose state may differ from ours: bind, then take its state.
    ///
    /// Also when we hold *less* than was restored: a restore brings back live keys only, so the
    /// deletes between our newest revision and the restored one are not in its history, and
    /// following it would keep those keys alive in our journal for ever.
    Rebase {
        /// The restored cluster's.
        identity: Identity,
        /// Our revision up to which its state is ours. What we hold beyond it is not in the
        /// cluster.
        common: Revision,
    },
    /// A restore of our cluster that is not complete yet: wait for it.
    Unfinished(Identity),
    /// Not our cluster.
    Refuse(Refusal),
}

/// Why a cluster is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cluster has no identity, ours had: it was reset.
    #[error(
        "this journal holds the history of cluster {local} up to revision {newest}, but the \
         cluster has no identity: it was reset, or it is another one"
    )]
    Reset {
        /// The identity that the journal is bound to.
        local: String,
        /// The newest revision in the journal.
        newest: Revision,
    },
    /// The cluster is ours, and has gone back.
    #[error(
        "this journal holds the history of cluster {local} up to revision {newest}, but that \
         cluster went back and has nothing of it after revision {common}: it was restored from a \
         backup of its own, or lost what it had acknowledged. What it wrote and writes since has \
         the revisions of what this journal holds"
    )]
    RolledBack {
        /// The identity of both.
        local: String,
        /// The newest revision in the journal.
        newest: Revision,
        /// The newest revision that both have, as far as is known.
        common: Revision,
    },
    /// The cluster has nothing that the journal has.
    #[error(
        "this journal holds the history of cluster {local} up to revision {newest}, but nothing \
         that this cluster has is as that one had it: it was reset, or it is another one"
    )]
    Unlike {
        /// What the journal calls its cluster.
        local: String,
        /// The newest revision in the journal.
        newest: Revision,
    },
    /// The cluster has another identity, and ours is not its parent.
    #[error(
        "this journal holds the history of cluster {local} up to revision {newest}, but this is \
         cluster {remote}"
    )]
    Foreign {
        /// The identity that the journal is bound to.
        local: String,
        /// The newest revision in the journal.
        newest: Revision,
        /// The identity of the cluster.
        remote: Identity,
    },
}

impl Refusal {
    /// What can be done about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::RolledBack { .. } => {
                "If what it lost counts, run with -r api: that puts back each key that nobody has \
                 written since, and names the others. Or stop its clients now and restore this \
                 journal into an empty cluster.\n  If it does not, run with --accept-loss: the \
                 cluster is then followed as it is, under a new name."
            }
            Self::Reset { .. } | Self::Foreign { .. } | Self::Unlike { .. } => {
                "If the cluster was lost and this journal is to bring it back, run with -r on an \
                 empty cluster.\n  If the cluster is a new one to be followed from now on, give \
                 it a new journal: -j ANOTHER-DIRECTORY."
            }
        }
    }
}

/// Compares the two sides.
#[must_use]
pub fn decide(local: &LocalHistory, remote: &RemoteCluster) -> Attach {
    let Some(bound_to) = &local.bound_to else {
        return match &remote.identity {
            None => Attach::Name,
            Some(identity) if identity.is_unfinished() => Attach::Unfinished(identity.clone()),
            Some(identity) => Attach::Bind(identity.clone()),
        };
    };
    let Some(identity) = &remote.identity else {
        return Attach::Refuse(Refusal::Reset {
            local: bound_to.clone(),
            newest: local.newest,
        });
    };
    if identity.id == *bound_to {
        return if identity.is_unfinished() {
            Attach::Unfinished(identity.clone())
        } else if remote.newest < local.newest && remote.may_roll_back {
            Attach::RolledBack {
                common: remote.newest,
            }
        } else if remote.newest < local.newest {
            Attach::Behind
        } else {
            Attach::Resume
        };
    }
    let Some(common) = identity.descends_from(bound_to) else {
        return Attach::Refuse(Refusal::Foreign {
            local: bound_to.clone(),
            newest: local.newest,
            remote: identity.clone(),
        });
    };
    let identity = identity.clone();
    let is_parent = |origin: &Origin| origin.parent == *bound_to;
    match &identity.origin {
        _ if identity.is_unfinished() => Attach::Unfinished(identity),
        Some(origin) if is_parent(origin) && origin.outcome.is_kept() && local.newest == common => {
            Attach::Continue(identity)
        }
        _ => Attach::Rebase { identity, common },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::lineage::Choice;
    use cairn_journal::Timestamp;

    fn local(bound_to: Option<&str>, newest: i64) -> LocalHistory {
        LocalHistory {
            bound_to: bound_to.map(str::to_owned),
            newest: Revision(newest),
            ancestors: Vec::new(),
        }
    }

    fn remote(identity: Option<&str>, newest: i64) -> RemoteCluster {
        RemoteCluster {
            identity: identity.map(|text| Identity::parse(text.as_bytes()).expect("a test value")),
            newest: Revision(newest),
            may_roll_back: false,
        }
    }

    #[test]
    fn a_first_attach_names_or_binds() {
        assert_eq!(decide(&local(None, 0), &remote(None, 58)), Attach::Name);
        let Attach::Bind(identity) = decide(&local(None, 0), &remote(Some("a"), 58)) else {
            panic!("an empty journal binds itself to a named cluster");
        };
        assert_eq!(identity.id, "a");
    }

    #[test]
    fn our_own_cluster_is_resumed_and_a_lagging_node_waited_for() {
        let us = local(Some("a"), 100);
        assert_eq!(decide(&us, &remote(Some("a"), 100)), Attach::Resume);
        assert_eq!(decide(&us, &remote(Some("a"), 200)), Attach::Resume);
        assert_eq!(decide(&us, &remote(Some("a"), 99)), Attach::Behind);
    }

    #[test]
    fn a_cluster_that_can_go_back_and_has_is_not_waited_for() {
        let remote = |newest| RemoteCluster {
            may_roll_back: true,
            ..remote(Some("a"), newest)
        };
        let us = local(Some("a"), 100);
        assert_eq!(decide(&us, &remote(100)), Attach::Resume);
        let common = Revision(99);
        assert_eq!(decide(&us, &remote(99)), Attach::RolledBack { common });
    }

    #[test]
    fn a_reset_or_foreign_cluster_is_refused_even_when_its_revisions_are_newer() {
        let us = local(Some("a"), 100);
        for newest in [1, 100, 1_000_000] {
            assert!(matches!(
                decide(&us, &remote(None, newest)),
                Attach::Refuse(Refusal::Reset { .. })
            ));
            for other in ["b", "c from b at 100 kept"] {
                assert!(matches!(
                    decide(&us, &remote(Some(other), newest)),
                    Attach::Refuse(Refusal::Foreign { .. })
                ));
            }
        }
    }

    #[test]
    fn a_restored_cluster_is_followed_by_its_lineage() {
        let kept = remote(Some("b from a at 100 kept"), 200);
        assert!(matches!(
            decide(&local(Some("a"), 100), &kept),
            Attach::Continue(_)
        ));
        // We hold something that the restore did not have, or lack deletes that it had.
        for newest in [99, 101] {
            assert!(matches!(
                decide(&local(Some("a"), newest), &kept),
                Attach::Rebase { .. }
            ));
        }
        let shifted = remote(Some("b from a at 100 shifted"), 200);
        assert!(matches!(
            decide(&local(Some("a"), 60), &shifted),
            Attach::Rebase { .. }
        ));
        for claim in ["bidding j for 2s", "restoring j"] {
            let restoring = remote(Some(&format!("b from a at 100 {claim}")), 80);
            assert!(matches!(
                decide(&local(Some("a"), 60), &restoring),
                Attach::Unfinished(_)
            ));
            assert!(matches!(
                decide(&local(None, 0), &restoring),
                Attach::Unfinished(_)
            ));
        }
    }

    /// Whatever a journal of the whole holds, a part of it may lack anything.
    #[test]
    fn a_part_has_nothing_in_common_with_any_journal() {
        let part = Identity::parse(b"b from a at 100 part").expect("a valid form");
        for newest in [60, 100, 140] {
            let remote = remote(Some("b from a at 100 part"), 200);
            let Attach::Rebase { common, .. } = decide(&local(Some("a"), newest), &remote) else {
                panic!("it is a descendant");
            };
            assert_eq!(common, Revision::NONE);
        }
        let timeline = part.timeline(Timestamp(0));
        assert_eq!(timeline.parent.as_deref(), Some("a@0"));
        assert!(!timeline.kept);
    }

    /// The restored cluster keeps its name and its persisters come back with journals that are
    /// already bound to it: then it is simply their own.
    #[test]
    fn a_journal_already_bound_to_the_restored_cluster_resumes() {
        let us = local(Some("b"), 150);
        assert_eq!(
            decide(&us, &remote(Some("b from a at 100 kept"), 200)),
            Attach::Resume
        );
    }

    /// A standby that was away for two restores has not become a stranger.
    #[test]
    fn a_descendant_of_any_generation_is_recognised() {
        let grandchild = remote(Some("c from b at 200 kept after a@100 z@50"), 300);
        for (bound_to, known) in [("b", 200), ("a", 100), ("z", 50)] {
            let Attach::Rebase { common, .. } = decide(&local(Some(bound_to), 250), &grandchild)
            else {
                panic!("{bound_to} is an ancestor");
            };
            assert_eq!(common, Revision(known));
        }
        assert!(matches!(
            decide(&local(Some("y"), 250), &grandchild),
            Attach::Refuse(Refusal::Foreign { .. })
        ));
        // Even at the very revision: what happened in between is not known.
        assert!(matches!(
            decide(&local(Some("a"), 100), &grandchild),
            Attach::Rebase { .. }
        ));
    }

    #[test]
    fn a_journal_remembers_the_whole_lineage() {
        let identity = Identity::parse(b"c from b at 200 kept after a@100").expect("a valid form");
        let timeline = identity.timeline(Timestamp(0));
        let ancestors = Ancestor::parse_all(&timeline.parent.expect("it has a parent"));
        let local = LocalHistory {
            bound_to: Some(timeline.id),
            newest: Revision(300),
            ancestors,
        };
        let outcome = Outcome::Restoring {
            by: "j".to_owned(),
            choice: Choice::Newest,
        };
        let next = local.claim("d".to_owned(), local.newest, outcome);
        let (_, lineage) = next
            .to_string()
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .expect("it has an origin");
        assert_eq!(lineage, "from c at 300 restoring j after b@200 a@100");
    }
}
