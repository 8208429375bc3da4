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

/// A cluster's identity, as it stands in the cluster: `ID`, and after a restore
/// `ID from OLD at REVISION kept` (or `shifted`, or `part`, or `restoring JOURNAL ...` until it is
/// complete), followed by ` after OLDER@REVISION ...` if that cluster had been restored in its turn.
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

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.at)
    }
}

impl Ancestor {
    /// Reads the form that [`Display`](fmt::Display) writes.
    fn parse(text: &str) -> Option<Self> {
        let (id, at) = text.rsplit_once('@')?;
        let at = Revision(at.parse().ok()?);
        (!id.is_empty()).then(|| Self {
            id: id.to_owned(),
            at,
        })
    }

    /// Reads any number of them, separated by spaces.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.split(' ').filter_map(Self::parse).collect()
    }
}

/// How far a restore came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still running, or interrupted: the state is incomplete.
    Restoring {
        /// Who restores it: the UUID of the journal, and where the lock is that is held meanwhile.
        by: String,
        /// The revisions of the states that restores which were overruled have brought back in part, lowest
        /// first. It bears no more of them than there are journals: each was outbid by a higher one.
        over: Vec<Revision>,
        /// What is restored.
        choice: Choice,
    },
    /// Complete, and every key is at the revision that it had.
    Kept,
    /// Complete, but some keys are at newer revisions than they had.
    Shifted,
    /// Some keys only were wanted, and are there.
    Part,
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

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => Ok(()),
            Self::Revision => f.write_str(" chosen"),
            Self::Only(prefixes) => write!(f, " only {}", prefixes.join(" ")),
        }
    }
}

impl Choice {
    fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [] => Some(Self::Newest),
            ["chosen"] => Some(Self::Revision),
            ["only", prefixes @ ..] if !prefixes.is_empty() => Some(Self::Only(
                prefixes.iter().map(ToString::to_string).collect(),
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if let Some(origin) = &self.origin {
            write!(f, " from {} at {}", origin.parent, origin.at)?;
            match &origin.outcome {
                Outcome::Restoring { by, over, choice } => {
                    write!(f, " restoring {by}")?;
                    for (n, at) in over.iter().enumerate() {
                        write!(f, "{}{at}", if n == 0 { " over " } else { "," })?;
                    }
                    write!(f, "{choice}")?;
                }
                Outcome::Kept => f.write_str(" kept")?,
                Outcome::Shifted => f.write_str(" shifted")?,
                Outcome::Part => f.write_str(" part")?,
            }
            for (n, ancestor) in origin.ancestors.iter().enumerate() {
                write!(f, "{} {ancestor}", if n == 0 { " after" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// The value of the identity key is not in a form that we know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's identity is {value:?}, which is not of the form \
     `ID` or `ID from OLD at REVISION kept|shifted|part|restoring ... [after OLDER@REVISION ...]`"
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

    /// A new identity for a cluster in which `by` restores the state at `at` from a journal that
    /// holds the history of `ours`.
    #[must_use]
    pub fn restoring(
        ours: &Ours,
        at: Revision,
        by: String,
        over: Vec<Revision>,
        choice: Choice,
    ) -> Self {
        Self {
            origin: Some(Origin {
                parent: ours.bound_to.clone().unwrap_or_default(),
                at,
                outcome: Outcome::Restoring { by, over, choice },
                ancestors: ours.ancestors.iter().take(ANCESTORS).cloned().collect(),
            }),
            ..Self::generate()
        }
    }

    /// The same, its restore over.
    #[must_use]
    pub fn finished(mut self, outcome: Outcome) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.outcome = outcome;
        }
        self
    }

    /// What completes the restore, if it is not complete and whoever began it is dead.
    #[must_use]
    pub fn completed_by(&self) -> &'static str {
        match self.origin.as_ref().map(|origin| &origin.outcome) {
            Some(Outcome::Restoring {
                choice: Choice::Revision | Choice::Only(_),
                ..
            }) => {
                "somebody chose this state with `persister restore`: run the same command again, or start the cluster anew"
            }
            _ => "start the persister that ran it again with -r",
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

    /// Reads the form that [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`ParseError`] for anything else.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let refuse = || ParseError {
            value: String::from_utf8_lossy(value).into_owned(),
        };
        let text = std::str::from_utf8(value).map_err(|_| refuse())?;
        let (text, ancestors) = match text.split_once(" after ") {
            Some((text, ancestors)) => (text, Ancestor::parse_all(ancestors)),
            None => (text, Vec::new()),
        };
        let words: Vec<&str> = text.split(' ').collect();
        let (id, origin) = match words[..] {
            [id] => (id, None),
            [id, "from", parent, "at", at, ref outcome @ ..] if !parent.is_empty() => {
                let outcome = match *outcome {
                    ["restoring", by, "over", over, ref choice @ ..] => Outcome::Restoring {
                        by: by.to_owned(),
                        over: revisions(over).ok_or_else(refuse)?,
                        choice: Choice::parse(choice).ok_or_else(refuse)?,
                    },
                    ["restoring", by, ref choice @ ..] => Outcome::Restoring {
                        by: by.to_owned(),
                        over: Vec::new(),
                        choice: Choice::parse(choice).ok_or_else(refuse)?,
                    },
                    ["kept"] => Outcome::Kept,
                    ["shifted"] => Outcome::Shifted,
                    ["part"] => Outcome::Part,
                    _ => return Err(refuse()),
                };
                let at = Revision(at.parse().map_err(|_| refuse())?);
                let parent = parent.to_owned();
                (
                    id,
                    Some(Origin {
                        parent,
                        at,
                        outcome,
                        ancestors,
                    }),
                )
            }
            _ => return Err(refuse()),
        };
        if id.is_empty() {
            return Err(refuse());
        }
        Ok(Self {
            id: id.to_owned(),
            origin,
        })
    }

    /// The journal's record of this identity. Its parent is the whole lineage, newest first, as
    /// [`Ancestor`]s.
    #[must_use]
    pub fn timeline(&self, observed_at: cairn_journal::Timestamp) -> Timeline {
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
            kept: self
                .origin
                .as_ref()
                .is_none_or(|o| o.outcome == Outcome::Kept),
            observed_at,
        }
    }
}

/// Revisions separated by commas.
fn revisions(text: &str) -> Option<Vec<Revision>> {
    let each = text.split(',').map(|at| at.parse().ok().map(Revision));
    each.collect()
}

/// What the journal knows when it attaches.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    /// The identity of the cluster it followed; `None` if it never followed one.
    pub bound_to: Option<String>,
    /// The newest revision that it covers; 0 in an empty journal.
    pub newest: Revision,
    /// Where that cluster came from, newest first.
    pub ancestors: Vec<Ancestor>,
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
    Rebase {
        /// The restored cluster's.
        identity: Identity,
        /// Our revision up to which its state is ours. What we hold beyond it is not in the cluster.
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
    let Some(common) = identity.descends_from(bound_to) else {
        return Attach::Refuse(Refusal::Foreign {
            ours: bound_to.clone(),
            newest: ours.newest,
            theirs: identity.clone(),
        });
    };
    let identity = identity.clone();
    let is_parent = |origin: &Origin| origin.parent == *bound_to;
    match &identity.origin {
        _ if is_unfinished(&identity) => Attach::Unfinished(identity),
        Some(origin)
            if is_parent(origin) && origin.outcome == Outcome::Kept && ours.newest == common =>
        {
            Attach::Continue(identity)
        }
        _ => Attach::Rebase { identity, common },
    }
}

fn is_unfinished(identity: &Identity) -> bool {
    identity
        .origin
        .as_ref()
        .is_some_and(|origin| matches!(origin.outcome, Outcome::Restoring { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(bound_to: Option<&str>, newest: i64) -> Ours {
        Ours {
            bound_to: bound_to.map(str::to_owned),
            newest: Revision(newest),
            ancestors: Vec::new(),
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
            "b from a at 90 restoring j",
            "b from a at 90 restoring j chosen",
            "b from a at 90 restoring j over 60,80",
            "b from a at 90 restoring j over 60 after z@5",
            "b from a at 90 restoring j only /app /lib after z@5",
            "b from a at 90 part",
            "c from b at 120 kept after a@90",
            "d from c at 150 restoring j after b@120 a@90",
        ] {
            let identity = Identity::parse(text.as_bytes()).expect("a valid form");
            assert_eq!(identity.to_string(), text);
        }
    }

    /// The story: `-r` was advised where nothing but the same command could complete what was chosen.
    #[test]
    fn a_choice_is_completed_by_choosing_it_again() {
        for (mark, by) in [
            ("b from a at 90 restoring j", "with -r"),
            ("b from a at 90 restoring j chosen", "the same command"),
            ("b from a at 90 restoring j only /app", "the same command"),
        ] {
            let identity = Identity::parse(mark.as_bytes()).expect("a valid form");
            assert!(identity.completed_by().contains(by), "{mark}");
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
            b"b from a at 9 restoring",
            b"b from a at 9 restoring j maybe",
            b"b from a at 9 restoring j only",
            b"b from a at 9 restoring j over",
            b"b from a at 9 restoring j over 5,x",
            b"b from a at 9 part of",
            b"b from a at 9 kept kept",
            b" from a at 9 kept",
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
                Attach::Rebase { .. }
            ));
        }
        let shifted = theirs(Some("b from a at 100 shifted"), 200);
        assert!(matches!(
            decide(&ours(Some("a"), 60), &shifted),
            Attach::Rebase { .. }
        ));
        let restoring = theirs(Some("b from a at 100 restoring j"), 80);
        assert!(matches!(
            decide(&ours(Some("a"), 60), &restoring),
            Attach::Unfinished(_)
        ));
        assert!(matches!(
            decide(&ours(None, 0), &restoring),
            Attach::Unfinished(_)
        ));
    }

    /// Whatever a journal of the whole holds, a part of it may lack anything.
    #[test]
    fn a_part_has_nothing_in_common_with_any_journal() {
        let part = Identity::parse(b"b from a at 100 part").expect("a valid form");
        for newest in [60, 100, 140] {
            let theirs = theirs(Some("b from a at 100 part"), 200);
            let Attach::Rebase { common, .. } = decide(&ours(Some("a"), newest), &theirs) else {
                panic!("it is a descendant");
            };
            assert_eq!(common, Revision::NONE);
        }
        let timeline = part.timeline(cairn_journal::Timestamp(0));
        assert_eq!(timeline.parent.as_deref(), Some("a@0"));
        assert!(!timeline.kept);
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

    /// A standby that was away for two restores has not become a stranger.
    #[test]
    fn a_descendant_of_any_generation_is_recognised() {
        let grandchild = theirs(Some("c from b at 200 kept after a@100 z@50"), 300);
        for (bound_to, known) in [("b", 200), ("a", 100), ("z", 50)] {
            let Attach::Rebase { common, .. } = decide(&ours(Some(bound_to), 250), &grandchild)
            else {
                panic!("{bound_to} is an ancestor");
            };
            assert_eq!(common, Revision(known));
        }
        assert!(matches!(
            decide(&ours(Some("y"), 250), &grandchild),
            Attach::Refuse(Refusal::Foreign { .. })
        ));
        // Even at the very revision: what happened in between is not known.
        assert!(matches!(
            decide(&ours(Some("a"), 100), &grandchild),
            Attach::Rebase { .. }
        ));
    }

    #[test]
    fn a_journal_remembers_the_whole_lineage() {
        let identity = Identity::parse(b"c from b at 200 kept after a@100").expect("a valid form");
        let timeline = identity.timeline(cairn_journal::Timestamp(0));
        let ancestors = Ancestor::parse_all(&timeline.parent.expect("it has a parent"));
        let ours = Ours {
            bound_to: Some(timeline.id),
            newest: Revision(300),
            ancestors,
        };
        let next = Identity::restoring(
            &ours,
            ours.newest,
            "j".to_owned(),
            Vec::new(),
            Choice::Newest,
        );
        let (_, lineage) = next
            .to_string()
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .expect("it has an origin");
        assert_eq!(lineage, "from c at 300 restoring j after b@200 a@100");
    }
}
