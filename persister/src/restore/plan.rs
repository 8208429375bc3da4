//! Whether a journal and a cluster ask for a restore: pure, no I/O.
//!
//! ```text
//!  identity of the cluster                        what a restore does
//!  none, or one that is no relation of ours       bids, if the cluster has no keys
//!  ours                                           nothing: it lives, or went back
//!  finished restore of ours                       nothing: it is done
//!  a bid of ours, or a lower one                  bids over it
//!  a bid that is as high                          waits; bids over it once its bidder is dead
//!  a higher bid                                   waits
//!  restoring, by the holder of our lock           completes it: that one is dead
//!  restoring, by another, from one with less      refuses: it is too late for what we have more
//!  restoring anything else                        waits
//! ```
//!
//! An operator moves these lines: `--take-over` says that whoever restores is dead, `--accept-loss`
//! that what others have more may go.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::control::Id;
use crate::identity::decision::{LocalHistory, RemoteCluster};
use crate::identity::lineage::{Bid, Choice, Identity, Origin, Outcome};
use crate::restore::target::Target;

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
    /// The cluster is the one that the journal follows, and has gone back.
    WentBack,
    /// The cluster has been restored to just this state.
    AlreadyRestored(Identity),
    /// The cluster has been restored, to another state.
    RestoredOtherwise(Identity),
    /// Some keys of the journal were restored into the cluster.
    RestoredInPart(Identity),
    /// The cluster is another one, even if it has no keys.
    Foreign(Identity),
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
                 written since. --merge brings the keys of the state that you ask for back into it \
                 (try --dry-run first)",
            ),
            Self::WentBack => f.write_str(
                "the cluster is the one that the journal follows, and went back: it has less than \
                 the journal. A persister that runs with -r api puts that back",
            ),
            Self::AlreadyRestored(identity) => {
                write!(f, "the cluster has been restored already ({identity})")
            }
            Self::RestoredOtherwise(identity) => write!(
                f,
                "the cluster has been restored already, and to another state than this one \
                 ({identity}). Start it anew, empty, or look at what --merge --dry-run would do"
            ),
            Self::RestoredInPart(identity) => write!(
                f,
                "some keys of this journal were restored into the cluster already ({identity}). \
                 --merge adds those that you ask for to what it has now, at new revisions (try \
                 --dry-run first). To have several parts at the revisions that they had, start the \
                 cluster anew, empty, and name every --prefix in one restore"
            ),
            Self::Foreign(identity) => {
                write!(f, "the cluster is another one than it was ({identity})")
            }
            Self::NotEmpty(paths) => {
                f.write_str("the cluster is not empty; it has")?;
                for path in paths {
                    write!(f, " {}", String::from_utf8_lossy(path))?;
                }
                f.write_str(" ...")
            }
            Self::OthersRestore(identity) => write!(
                f,
                "a restore was begun ({identity}), and nobody goes on with it: {}. If its journal \
                 is lost: start the cluster anew",
                identity.completed_by()
            ),
        }
    }
}

/// What to do with a cluster when asked to restore.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing(Reason),
    /// Claim the cluster, if it has no keys: in place of this lower or dead bid, if there is one.
    Begin(Option<Identity>),
    /// Complete what was begun under this identity.
    Complete(Identity),
    /// Another restore goes first.
    Wait(Identity),
    /// It is too late: a restore from a journal that has less has begun.
    TooLate(Identity),
    /// Write into a cluster that has keys.
    Merge,
}

/// Who wants to restore, and for whose bids it waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Bidder {
    /// As the claim says it.
    pub(super) by: String,
    /// The persister's number, if it is one.
    pub(super) id: Option<Id>,
    /// The persisters whose bids are to be awaited.
    pub(super) with: BTreeSet<Id>,
    /// How long a bid stands; `None`: until all of them have bid.
    pub(super) wait: Option<Duration>,
}

impl Bidder {
    /// Whether nobody's bid is awaited.
    pub(super) fn is_alone(&self) -> bool {
        self.with.is_empty() && self.wait.unwrap_or_default().is_zero()
    }

    /// A bid of ours; `over` is the one in whose place it comes.
    pub(super) fn bid(&self, over: Option<&Bid>) -> Bid {
        let over = over.cloned().unwrap_or_default();
        Bid {
            by: self.by.clone(),
            seconds: self.seconds(&over),
            met: over.met.into_iter().chain(self.id).collect(),
            of: over.of.union(&self.with).copied().collect(),
        }
    }

    /// How long a bid in the place of `over` stands: as long as anybody who waits for others by
    /// their numbers wants.
    fn seconds(&self, over: &Bid) -> Option<u64> {
        let whole = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let ours = self.wait.map(whole);
        match (over.of.is_empty(), self.with.is_empty()) {
            (true, _) => ours,
            (false, true) => over.seconds,
            (false, false) => Some(over.seconds?.max(ours?)),
        }
    }

    /// A bid that is better than ours, as it is to be once we have seen it; `None`: as it is.
    pub(super) fn seen(&self, bid: &Bid) -> Option<Bid> {
        let of: BTreeSet<Id> = bid.of.union(&self.with).copied().collect();
        let is_awaited = |id: &Id| of.contains(id) && !bid.met.contains(id);
        let id = self.id.filter(is_awaited);
        if id.is_none() && of == bid.of {
            return None;
        }
        Some(Bid {
            by: bid.by.clone(),
            seconds: if of == bid.of {
                bid.seconds
            } else {
                self.seconds(bid)
            },
            met: bid.met.iter().copied().chain(self.id).collect(),
            of,
        })
    }
}

/// What somebody may do who is told to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Permission {
    pub(super) merge: bool,
    pub(super) accept_loss: bool,
    pub(super) take_over: bool,
    pub(super) nameless_only: bool,
}

/// `dead`: a claim whose bidder is known to be dead.
pub(super) fn plan(
    local: &LocalHistory,
    target: &Target,
    remote: &RemoteCluster,
    by: &str,
    permission: Permission,
    dead: Option<&Identity>,
) -> Plan {
    let Some(bound_to) = &local.bound_to else {
        return Plan::Nothing(Reason::EmptyJournal);
    };
    let Some(identity) = &remote.identity else {
        return Plan::Begin(None);
    };
    if let Some(origin) = &identity.origin {
        // Whoever had our lock is dead; of anybody else an operator may know.
        let is_dead = |who: &str| who == by || permission.take_over;
        let may = match &origin.outcome {
            Outcome::Bidding(bid) => {
                let is_dead = is_dead(&bid.by) || dead == Some(identity);
                Some(outbid(local, target, origin, is_dead, permission))
            }
            Outcome::Restoring { by: who, choice } => Some(complete(
                local,
                target,
                origin,
                choice,
                is_dead(who),
                permission,
            )),
            Outcome::Kept | Outcome::Jumped(_) | Outcome::Shifted | Outcome::Part => None,
        };
        if let Some(may) = may {
            let identity = identity.clone();
            return match may {
                May::Begin => Plan::Begin(Some(identity)),
                May::Complete => Plan::Complete(identity),
                May::Wait => Plan::Wait(identity),
                May::Refuse => Plan::TooLate(identity),
            };
        }
    }
    if identity.id == *bound_to {
        return match (&target.choice, permission.merge) {
            (Choice::Newest, _) if remote.may_roll_back && remote.newest < local.newest => {
                Plan::Nothing(Reason::WentBack)
            }
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
    if permission.nameless_only {
        return Plan::Nothing(Reason::Foreign(identity.clone()));
    }
    // Named by a persister that attached first. If it is empty it is ours to fill.
    Plan::Begin(None)
}

/// What somebody may do who finds another one's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    Begin,
    Complete,
    Wait,
    Refuse,
}

/// While bids are awaited no key has been written: what is decided here may cost changes, and never
/// mixes states. `is_dead`: the bidder is.
fn outbid(
    local: &LocalHistory,
    target: &Target,
    origin: &Origin,
    is_dead: bool,
    permission: Permission,
) -> May {
    let may_bid = match rank(local, origin) {
        // An election for the newest state that has begun is not overruled by a choice.
        _ if target.choice != Choice::Newest => is_dead,
        Rank::More => true,
        Rank::Equal => is_dead,
        Rank::Less => is_dead && permission.accept_loss,
        Rank::Unknown => permission.take_over,
    };
    if may_bid { May::Begin } else { May::Wait }
}

/// Once a restore has begun, keys of its state may be there. `is_dead`: the restorer is.
fn complete(
    local: &LocalHistory,
    target: &Target,
    origin: &Origin,
    choice: &Choice,
    is_dead: bool,
    permission: Permission,
) -> May {
    let is_of_our_life = local.bound_to.as_ref() == Some(&origin.parent);
    if *choice != Choice::Newest || target.choice != Choice::Newest {
        // Somebody has chosen: who has more is not the question.
        let is_same = is_of_our_life && origin.at == target.at && *choice == target.choice;
        return if is_same && is_dead {
            May::Complete
        } else {
            May::Wait
        };
    }
    match rank(local, origin) {
        Rank::Equal if is_dead => May::Complete,
        // What is there may be a part of our state, too: that is looked at.
        Rank::More if is_dead && is_of_our_life => May::Complete,
        Rank::Less if is_dead && permission.accept_loss => May::Complete,
        Rank::More => May::Refuse,
        Rank::Equal | Rank::Less | Rank::Unknown => May::Wait,
    }
}

/// Whether this finished restore brought back what is intended.
fn is_this(origin: &Origin, bound_to: &str, target: &Target) -> bool {
    let is_whole = origin.outcome.is_kept() || origin.outcome == Outcome::Shifted;
    let is_whole_wanted = !matches!(target.choice, Choice::Only(_));
    origin.parent == bound_to && origin.at == target.at && is_whole && is_whole_wanted
}

/// How a journal compares with the one that a claim speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// A higher revision of the same life of the cluster, or any of a later life.
    More,
    Equal,
    /// A lower revision of the same life.
    Less,
    /// Nothing can be compared.
    Unknown,
}

fn rank(local: &LocalHistory, origin: &Origin) -> Rank {
    if local.bound_to.as_ref() == Some(&origin.parent) {
        return match local.newest.cmp(&origin.at) {
            std::cmp::Ordering::Greater => Rank::More,
            std::cmp::Ordering::Equal => Rank::Equal,
            std::cmp::Ordering::Less => Rank::Less,
        };
    }
    if local.ancestors.iter().any(|a| a.id == origin.parent) {
        return Rank::More;
    }
    Rank::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::lineage::Ancestor;
    use cairn_journal::Revision;

    const NO: Permission = Permission {
        merge: false,
        accept_loss: false,
        take_over: false,
        nameless_only: false,
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
        plan(local, &target, &remote, "mine", may, None)
    }

    fn claim(text: &str) -> Identity {
        Identity::parse(text.as_bytes()).expect("a test value")
    }

    fn newest(bound_to: Option<&str>, at: i64, identity: Option<&str>) -> Plan {
        decided(&local(bound_to, at), at, Choice::Newest, identity, NO)
    }

    #[test]
    fn a_fresh_cluster_is_filled_whoever_named_it() {
        assert_eq!(newest(Some("a"), 9, None), Plan::Begin(None));
        assert_eq!(newest(Some("a"), 9, Some("z")), Plan::Begin(None));
        assert_eq!(newest(None, 0, None), Plan::Nothing(Reason::EmptyJournal));
        // A persister that runs takes it for another one that came to the same address.
        let may = Permission {
            nameless_only: true,
            ..NO
        };
        let us = local(Some("a"), 9);
        let at = |identity| decided(&us, 9, Choice::Newest, identity, may);
        assert_eq!(at(None), Plan::Begin(None));
        assert_eq!(at(Some("z")), Plan::Nothing(Reason::Foreign(claim("z"))));
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
    fn the_highest_bid_wins_and_the_rest_wait() {
        let bid = "b from a at 9 bidding another for 2s";
        let outbids = |bound_to, at| match newest(Some(bound_to), at, Some(bid)) {
            Plan::Begin(over) => over == Some(claim(bid)),
            Plan::Wait(_) => false,
            other => panic!("{other:?}"),
        };
        assert!(outbids("a", 10));
        for (bound_to, at) in [("a", 9), ("a", 8), ("x", 100)] {
            assert!(!outbids(bound_to, at), "{bound_to} at {at}");
        }
        // A journal of a later life of the cluster, though its revisions began anew.
        let bid = "c from older at 9 bidding another for 2s";
        assert_eq!(
            newest(Some("b"), 3, Some(bid)),
            Plan::Begin(Some(claim(bid)))
        );
        let own = "b from a at 9 bidding mine for 2s";
        assert_eq!(
            newest(Some("a"), 9, Some(own)),
            Plan::Begin(Some(claim(own)))
        );
    }

    #[test]
    fn a_dead_bidder_is_replaced_by_its_equal_and_by_less_only_with_permission() {
        let accept_loss = Permission {
            accept_loss: true,
            ..NO
        };
        let replaces = |at, bid: &str, may| {
            let (us, remote) = (local(Some("a"), at), claim(bid));
            let target = Target {
                at: Revision(at),
                choice: Choice::Newest,
            };
            let remote = RemoteCluster {
                identity: Some(remote.clone()),
                newest: Revision(58),
                may_roll_back: false,
            };
            let dead = remote.identity.as_ref();
            let plan = plan(&us, &target, &remote, "mine", may, dead);
            matches!(plan, Plan::Begin(Some(_)))
        };
        let bid = "b from a at 9 bidding another for 2s";
        assert!(replaces(9, bid, NO));
        assert!(!replaces(8, bid, NO));
        assert!(replaces(8, bid, accept_loss));
        assert!(!replaces(8, "b from x at 9 bidding another", accept_loss));
        // It lives, as far as anybody knows.
        let us = local(Some("a"), 8);
        let plan = decided(&us, 8, Choice::Newest, Some(bid), accept_loss);
        assert_eq!(plan, Plan::Wait(claim(bid)));
    }

    #[test]
    fn a_restore_that_has_begun_is_completed_by_who_knows_that_its_writer_is_dead() {
        let take_over = Permission {
            take_over: true,
            ..NO
        };
        let accept_loss = Permission {
            accept_loss: true,
            ..take_over
        };
        let us = local(Some("a"), 9);
        let at = |text, may| decided(&us, 9, Choice::Newest, Some(text), may);
        let (mine, equal) = ("b from a at 9 restoring mine", "b from a at 9 restoring x");
        assert_eq!(at(mine, NO), Plan::Complete(claim(mine)));
        assert_eq!(at(equal, NO), Plan::Wait(claim(equal)));
        assert_eq!(at(equal, take_over), Plan::Complete(claim(equal)));
        // One that has more: only if what it had more may go, too.
        let more = "b from a at 12 restoring x";
        for (may, plan) in [
            (NO, Plan::Wait(claim(more))),
            (take_over, Plan::Wait(claim(more))),
            (accept_loss, Plan::Complete(claim(more))),
        ] {
            assert_eq!(at(more, may), plan);
        }
        // One that has less: what we have more came too late.
        let less = "b from a at 8 restoring x";
        assert_eq!(at(less, NO), Plan::TooLate(claim(less)));
        assert_eq!(at(less, take_over), Plan::Complete(claim(less)));
        let older = "b from older at 80 restoring x";
        assert_eq!(at(older, take_over), Plan::TooLate(claim(older)));
        assert_eq!(
            at("b from x at 8 restoring x", accept_loss),
            Plan::Wait(claim("b from x at 8 restoring x"))
        );
    }

    #[test]
    fn what_somebody_has_chosen_is_not_overruled() {
        let us = local(Some("a"), 9);
        for text in [
            "b from a at 7 restoring another chosen",
            "b from a at 7 restoring another only /app",
        ] {
            let plan = decided(&us, 9, Choice::Newest, Some(text), NO);
            assert!(matches!(plan, Plan::Wait(_)), "{text}");
        }
        let mine = "b from a at 7 restoring mine chosen";
        assert_eq!(
            decided(&us, 7, Choice::Revision, Some(mine), NO),
            Plan::Complete(claim(mine))
        );
        for text in ["restoring another", "bidding another for 2s"] {
            let text = format!("b from a at 7 {text}");
            assert!(matches!(
                decided(&us, 5, Choice::Revision, Some(&text), NO),
                Plan::Wait(_)
            ));
        }
    }

    /// The story: cold starts are minutes apart, and the one with less was up first.
    #[test]
    fn a_bid_names_who_has_bid_and_who_is_awaited() {
        let ids = |ids: &[Id]| ids.iter().copied().collect::<BTreeSet<Id>>();
        let bidder = |id, with: &[Id]| Bidder {
            by: format!("j{id}"),
            id: Some(id),
            with: ids(with),
            wait: None,
        };
        let (one, two, three) = (bidder(1, &[1, 2, 3]), bidder(2, &[1, 2, 3]), bidder(3, &[]));
        let first = one.bid(None);
        assert_eq!(first.missing().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(first.stands_for(), None, "it may wait for ever");
        let second = two.bid(Some(&first));
        assert_eq!((&*second.by, second.met.clone()), ("j2", ids(&[1, 2])));
        assert_eq!(one.seen(&second), None, "it has bid already");
        // One that has less, and was not told of the others, is counted all the same.
        let third = three.seen(&second).expect("it is awaited");
        assert_eq!(third.by, "j2");
        assert_eq!(third.missing().count(), 0);
        assert!(third.stands_for().is_some());
        // A demand of one that has less holds, too.
        let hasty = Bidder {
            wait: Some(Duration::from_millis(1500)),
            ..bidder(4, &[])
        };
        let bid = hasty.bid(None);
        assert_eq!(bid.to_string(), "j4 for 2s met 4");
        let seen = one.seen(&bid).expect("there is more to wait for");
        assert_eq!(seen.to_string(), "j4 met 1,4 of 1,2,3");
        // One that would not have waited waits as long as others wanted.
        assert_eq!(hasty.bid(Some(&first)).to_string(), "j4 met 1,4 of 1,2,3");
        assert_eq!(three.seen(&bid), None, "nobody asks for it");
    }
}
