//! Which cluster is this, and may this journal follow it?
//!
//! A cluster in memory that loses all its nodes comes back empty, counting revisions from 1 again.
//! A persister that waited there for its next revision would wait in silence, and one that
//! followed would mix two histories in one journal. So every cluster carries an [`Identity`], every
//! journal is bound to the one it followed, and [`decide`] compares the two on every attach.
//!
//! Pure: no I/O here. The promise: [`decide`] never answers "follow" unless the cluster's identity
//! is the journal's own or descends from it by a restore.

use std::fmt;

use cairn_journal::{Revision, Timeline};

/// A cluster's identity, as it stands in the cluster: `UUID`, and after a restore
/// `UUID from OLD-UUID at REVISION kept` (or `shifted`, or `restoring` until it is complete).
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// How far a restore came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still running, or interrupted: the state is incomplete.
    Restoring,
    /// Complete, and every key is at the revision that it had.
    Kept,
    /// Complete, but some keys are at newer revisions than they had.
    Shifted,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if let Some(origin) = &self.origin {
            let outcome = match origin.outcome {
                Outcome::Restoring => "restoring",
                Outcome::Kept => "kept",
                Outcome::Shifted => "shifted",
            };
            write!(f, " from {} at {} {outcome}", origin.parent, origin.at)?;
        }
        Ok(())
    }
}

/// The value of the identity key is not in a form that we know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's identity is {value:?}, which is not of the form \
     `ID` or `ID from OLD-ID at REVISION kept|shifted|restoring`"
)]
pub struct ParseError {
    value: String,
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

    /// A new identity for a cluster that is being restored from a journal bound to `parent`.
    #[must_use]
    pub fn restored(parent: &str, at: Revision, outcome: Outcome) -> Self {
        Self {
            origin: Some(Origin {
                parent: parent.to_owned(),
                at,
                outcome,
            }),
            ..Self::generate()
        }
    }

    /// Reads the form that [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`ParseError`] for anything else.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let refuse = || ParseError {
            value: String::from_utf8_lossy(value).into_owned(),
        };
        let text = std::str::from_utf8(value).map_err(|_| refuse())?;
        let words: Vec<&str> = text.split(' ').collect();
        let named = |id: &str| !id.is_empty();
        match words[..] {
            [id] if named(id) => Ok(Self {
                id: id.to_owned(),
                origin: None,
            }),
            [id, "from", parent, "at", at, outcome] if named(id) && named(parent) => {
                let outcome = match outcome {
                    "restoring" => Outcome::Restoring,
                    "kept" => Outcome::Kept,
                    "shifted" => Outcome::Shifted,
                    _ => return Err(refuse()),
                };
                let at = at.parse().map_err(|_| refuse())?;
                Ok(Self {
                    id: id.to_owned(),
                    origin: Some(Origin {
                        parent: parent.to_owned(),
                        at: Revision(at),
                        outcome,
                    }),
                })
            }
            _ => Err(refuse()),
        }
    }

    /// The journal's record of this identity.
    #[must_use]
    pub fn timeline(&self, observed_at: cairn_journal::Timestamp) -> Timeline {
        Timeline {
            id: self.id.clone(),
            parent: self.origin.as_ref().map(|o| o.parent.clone()),
            at: self.origin.as_ref().map_or(Revision(0), |o| o.at),
            kept: self
                .origin
                .as_ref()
                .is_none_or(|o| o.outcome == Outcome::Kept),
            observed_at,
        }
    }
}

/// What the journal knows when it attaches.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The identity of the cluster it followed; `None` if it never followed one.
    pub bound_to: Option<String>,
    /// The newest revision that it covers; 0 in an empty journal.
    pub newest: Revision,
}

/// What the cluster says when we attach.
#[derive(Clone, Debug)]
pub struct Theirs {
    /// Its identity; `None` if no persister ever attached.
    pub identity: Option<Identity>,
    /// The newest revision of the node we reached.
    pub newest: Revision,
}

/// What to do on an attach.
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
    /// A restore of our cluster that kept all revisions and holds exactly what we have: bind, follow.
    Continue(Identity),
    /// A restore of our cluster whose state may differ from ours: bind, then take its state.
    ///
    /// Also when we hold *less* than was restored: a restore brings back live keys only, so the
    /// deletes between our newest revision and the restored one are not in its history, and
    /// following it would keep those keys alive in our journal for ever.
    Rebase(Identity),
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
        "this journal holds the history of cluster {ours} up to revision {newest}, but the cluster \
         has no identity: it was reset, or it is another one"
    )]
    Reset {
        /// The identity that the journal is bound to.
        ours: String,
        /// The newest revision in the journal.
        newest: Revision,
    },
    /// The cluster has another identity, and ours is not its parent.
    #[error(
        "this journal holds the history of cluster {ours} up to revision {newest}, but this is \
         cluster {theirs}"
    )]
    Foreign {
        /// The identity that the journal is bound to.
        ours: String,
        /// The newest revision in the journal.
        newest: Revision,
        /// The identity of the cluster.
        theirs: Identity,
    },
}

/// What a journal that knows `ours` does with a cluster that says `theirs`.
#[must_use]
pub fn decide(ours: &Ours, theirs: &Theirs) -> Attach {
    let Some(bound_to) = &ours.bound_to else {
        return match &theirs.identity {
            None => Attach::Name,
            Some(identity) if is_unfinished(identity) => Attach::Unfinished(identity.clone()),
            Some(identity) => Attach::Bind(identity.clone()),
        };
    };
    let Some(identity) = &theirs.identity else {
        return Attach::Refuse(Refusal::Reset {
            ours: bound_to.clone(),
            newest: ours.newest,
        });
    };
    if identity.id == *bound_to {
        return if is_unfinished(identity) {
            Attach::Unfinished(identity.clone())
        } else if theirs.newest < ours.newest {
            Attach::Behind
        } else {
            Attach::Resume
        };
    }
    match &identity.origin {
        Some(origin) if origin.parent == *bound_to => match origin.outcome {
            Outcome::Restoring => Attach::Unfinished(identity.clone()),
            Outcome::Kept if ours.newest == origin.at => Attach::Continue(identity.clone()),
            Outcome::Kept | Outcome::Shifted => Attach::Rebase(identity.clone()),
        },
        _ => Attach::Refuse(Refusal::Foreign {
            ours: bound_to.clone(),
            newest: ours.newest,
            theirs: identity.clone(),
        }),
    }
}

fn is_unfinished(identity: &Identity) -> bool {
    identity
        .origin
        .as_ref()
        .is_some_and(|origin| origin.outcome == Outcome::Restoring)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(bound_to: Option<&str>, newest: i64) -> Ours {
        Ours {
            bound_to: bound_to.map(str::to_owned),
            newest: Revision(newest),
        }
    }

    fn theirs(identity: Option<&str>, newest: i64) -> Theirs {
        Theirs {
            identity: identity.map(|text| Identity::parse(text.as_bytes()).expect("a test value")),
            newest: Revision(newest),
        }
    }

    #[test]
    fn the_written_form_is_read_back() {
        for text in [
            "a",
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            "b from a at 90 kept",
            "b from a at 90 shifted",
            "b from a at 90 restoring",
        ] {
            let identity = Identity::parse(text.as_bytes()).expect("a valid form");
            assert_eq!(identity.to_string(), text);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in [
            &b""[..],
            b" ",
            b"a b",
            b"b from a at x kept",
            b"b from a at 9 maybe",
            b"b from a at 9",
            b"b from  at 9 kept",
            b"\xff",
        ] {
            assert!(Identity::parse(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_first_attach_names_or_binds() {
        assert_eq!(decide(&ours(None, 0), &theirs(None, 58)), Attach::Name);
        let Attach::Bind(identity) = decide(&ours(None, 0), &theirs(Some("a"), 58)) else {
            panic!("an empty journal binds itself to a named cluster");
        };
        assert_eq!(identity.id, "a");
    }

    #[test]
    fn our_own_cluster_is_resumed_and_a_lagging_node_waited_for() {
        let us = ours(Some("a"), 100);
        assert_eq!(decide(&us, &theirs(Some("a"), 100)), Attach::Resume);
        assert_eq!(decide(&us, &theirs(Some("a"), 200)), Attach::Resume);
        assert_eq!(decide(&us, &theirs(Some("a"), 99)), Attach::Behind);
    }

    #[test]
    fn a_reset_or_foreign_cluster_is_refused_even_when_its_revisions_are_newer() {
        let us = ours(Some("a"), 100);
        for newest in [1, 100, 1_000_000] {
            assert!(matches!(
                decide(&us, &theirs(None, newest)),
                Attach::Refuse(Refusal::Reset { .. })
            ));
            for other in ["b", "c from b at 100 kept"] {
                assert!(matches!(
                    decide(&us, &theirs(Some(other), newest)),
                    Attach::Refuse(Refusal::Foreign { .. })
                ));
            }
        }
    }

    #[test]
    fn a_restored_cluster_is_followed_by_its_lineage() {
        let kept = theirs(Some("b from a at 100 kept"), 200);
        assert!(matches!(
            decide(&ours(Some("a"), 100), &kept),
            Attach::Continue(_)
        ));
        // We hold something that the restore did not have, or lack deletes that it had.
        for newest in [99, 101] {
            assert!(matches!(
                decide(&ours(Some("a"), newest), &kept),
                Attach::Rebase(_)
            ));
        }
        let shifted = theirs(Some("b from a at 100 shifted"), 200);
        assert!(matches!(
            decide(&ours(Some("a"), 60), &shifted),
            Attach::Rebase(_)
        ));
        let restoring = theirs(Some("b from a at 100 restoring"), 80);
        assert!(matches!(
            decide(&ours(Some("a"), 60), &restoring),
            Attach::Unfinished(_)
        ));
        assert!(matches!(
            decide(&ours(None, 0), &restoring),
            Attach::Unfinished(_)
        ));
    }

    /// The restored cluster keeps its name and its persisters come back with journals that are
    /// already bound to it: then it is simply their own.
    #[test]
    fn a_journal_already_bound_to_the_restored_cluster_resumes() {
        let us = ours(Some("b"), 150);
        assert_eq!(
            decide(&us, &theirs(Some("b from a at 100 kept"), 200)),
            Attach::Resume
        );
    }
}
