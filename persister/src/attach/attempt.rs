//! One attempt to attach: what the comparison of both sides leads to.

use std::path::Path;

use cairn_journal::{GapReason, Journal, Revision, Stop};
use cairn_protocol::keys::IDENTITY;

use crate::attach::binding::{binding, commit, continued};
use crate::attach::continuity::{Continuity, compare};
use crate::attach::observe::{Likeness, likeness};
use crate::attach::sides::{changes_beyond, identified, local_history};
use crate::attach::snapshot_diff;
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::Error as ClusterError;
use crate::cluster::followed::Changes;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::identity::decision::{Attach, LocalHistory, Refusal, RemoteCluster, decide};
use crate::identity::lineage::Identity;

/// A session that may be followed and published to.
pub struct Attached<S> {
    /// The session.
    pub session: S,
    /// The cluster's identity.
    pub cluster: String,
    /// A revision that was current before the identity was read.
    pub identified_at: Revision,
    /// The revision that the stream begins with.
    pub next: Revision,
    /// Everything from `next` on.
    pub stream: Changes,
    /// Whether the cluster's state was taken, as its history could not be followed.
    pub state_taken: bool,
}

/// The outcome of one attempt.
pub(super) enum Tried<S> {
    Attached(Attached<S>),
    /// Something changed under us: look again at once.
    Again,
    /// Not yet, and why.
    Wait(String),
    /// Not yet, because the cluster is being restored.
    Unfinished(String),
    /// The addresses have different names, or one has none: the refusal, if that stays so.
    Several(Error),
    /// The node is behind the journal, and its cluster has no name: the refusal, if that stays so.
    Nameless(Error),
}

/// A session whose cluster has said who it is, and a journal that has.
pub(super) struct Attempt<'a, S> {
    session: S,
    journal: &'a Journal,
    /// Whose watermark is ours; `None`: the cluster is only observed.
    id: Option<Id>,
    local: LocalHistory,
    remote: RemoteCluster,
    identified_at: Revision,
    /// Asks the taking of a state to end.
    stop: &'a Stop,
}

impl<'a, S: Session> Attempt<'a, S> {
    pub(super) async fn begin<C: Cluster<Session = S>>(
        cluster: &C,
        journal: &'a Journal,
        id: Option<Id>,
        stop: &'a Stop,
    ) -> Result<Self, Error> {
        let (session, remote, identified_at) = identified(&cluster.open().await?).await?;
        let local = tokio::task::block_in_place(|| local_history(journal))?;
        Ok(Self {
            session,
            journal,
            id,
            local,
            remote,
            identified_at,
            stop,
        })
    }

    /// Whether the journal follows no cluster yet.
    pub(super) fn is_first(&self) -> bool {
        self.local.bound_to.is_none()
    }

    /// The name of the cluster that was found.
    pub(super) fn name_found(&self) -> Option<&str> {
        let identity = self.remote.identity.as_ref()?;
        Some(&identity.id)
    }

    /// `take_state` and `accept_loss` as for [`attach`](super::attach).
    pub(super) async fn decide(
        self,
        take_state: Option<GapReason>,
        accept_loss: bool,
    ) -> Result<Tried<S>, Error> {
        if self.id.is_none() {
            return self.observe(take_state, accept_loss).await;
        }
        let decided = decide(&self.local, &self.remote);
        if matches!(
            decided,
            Attach::Name | Attach::Refuse(Refusal::Reset { .. })
        ) && let Some(why) = self.name_is_gone().await?
        {
            return Ok(Tried::Wait(why));
        }
        match decided {
            Attach::Refuse(refusal) => self.refuse(refusal),
            Attach::RolledBack { common: newest } => {
                let common = match self.compare(newest).await? {
                    Continuity::Same { .. } => newest,
                    Continuity::Parted { common, .. } => common,
                    Continuity::Unknown => Revision::NONE,
                };
                self.rolled_back(common, accept_loss).await
            }
            Attach::Behind => Ok(Tried::Wait(format!(
                "this node is at revision {}, the journal at {}: the node lags",
                self.remote.newest, self.local.newest
            ))),
            Attach::Unfinished(identity) => Ok(Tried::Unfinished(format!(
                "the cluster is being restored ({identity}): {}",
                identity.completed_by()
            ))),
            Attach::Name => self.name().await,
            Attach::Bind(identity) => {
                let bound = self.journal.end().timeline;
                if bound.is_none_or(|bound| bound.id != identity.id) {
                    tracing::info!(cluster = %identity.id, "following this cluster from now on");
                    commit(self.journal, binding(&identity, Revision::NONE))?;
                }
                self.go_on(identity, take_state, None).await
            }
            Attach::Continue(identity) => {
                tracing::info!(
                    cluster = %identity,
                    "the cluster was restored with its revisions: going on"
                );
                let outcome = identity.origin.as_ref().map(|origin| &origin.outcome);
                let is_whole = outcome.is_some_and(|outcome| outcome.resumes_at().is_some());
                let compared = match self.remote.may_roll_back && !is_whole {
                    true => Some(self.compare(self.local.newest).await?),
                    false => None,
                };
                continued(self.journal, &identity, self.local.newest)?;
                match compared {
                    Some(Continuity::Same { stream, .. }) => {
                        self.go_on(identity, take_state, Some(stream)).await
                    }
                    // It came back by writes: what the engine knows of its keys is not what it was.
                    Some(Continuity::Parted { .. } | Continuity::Unknown) => {
                        let take_state = take_state.or(Some(GapReason::HistoryDiscarded));
                        self.go_on(identity, take_state, None).await
                    }
                    None => self.go_on(identity, take_state, None).await,
                }
            }
            Attach::Rebase { identity, common } => self.rebase(identity, common, accept_loss).await,
            Attach::Resume => self.resume(take_state, accept_loss).await,
        }
    }

    async fn compare(&self, last: Revision) -> Result<Continuity, Error> {
        compare(&self.session, self.journal, self.id, last).await
    }

    /// Whether each key of the cluster that is not newer than the journal's end is as the journal
    /// has it, as far as the journal has everything. Asked where no revision can be compared.
    async fn has_our_keys(&self) -> Result<bool, Error> {
        let newest = self.local.newest;
        let found = likeness(&self.session, self.journal, newest, self.stop).await?;
        Ok(found.other == 0 || self.journal.end().open_gap.is_some())
    }

    /// Goes on with our own cluster, if its history is still the one that the journal holds.
    async fn resume(
        self,
        take_state: Option<GapReason>,
        accept_loss: bool,
    ) -> Result<Tried<S>, Error> {
        let lost = || ClusterError::Refused("the cluster lost its identity".to_owned());
        let identity = self.remote.identity.clone().ok_or_else(lost)?;
        if !self.remote.may_roll_back {
            return self.go_on(identity, take_state, None).await;
        }
        match self.compare(self.local.newest).await? {
            Continuity::Parted { common, .. } => self.rolled_back(common, accept_loss).await,
            Continuity::Same { stream, proven } => {
                if !proven && !self.has_our_keys().await? {
                    return self.rolled_back(Revision::NONE, accept_loss).await;
                }
                self.go_on(identity, take_state, Some(stream)).await
            }
            Continuity::Unknown => {
                if !self.has_our_keys().await? {
                    return self.rolled_back(Revision::NONE, accept_loss).await;
                }
                tracing::warn!(
                    newest = %self.local.newest,
                    "the cluster keeps no revision that the journal has, so only its keys were \
                     compared"
                );
                let take_state = take_state.or(Some(GapReason::HistoryDiscarded));
                self.go_on(identity, take_state, None).await
            }
        }
    }

    /// The cluster has gone back, and has nothing of ours beyond `common`. Where that is accepted,
    /// what it is from now on gets a name of its own: nobody who knows the old one, persister or
    /// client, then takes its revisions for those that were lost.
    async fn rolled_back(self, common: Revision, accept_loss: bool) -> Result<Tried<S>, Error> {
        if !accept_loss {
            let refusal = Refusal::RolledBack {
                local: self.local.bound_to.clone().unwrap_or_default(),
                newest: self.local.newest,
                common,
            };
            return self.refuse(refusal);
        }
        let key = ControlKey::Identity;
        let Some(now) = self.session.read(&key).await? else {
            return Ok(Tried::Again);
        };
        let identity = self.local.went_on_without(common);
        tracing::warn!(
            cluster = %identity,
            "the cluster went back, which is accepted: naming what it is from now on"
        );
        let value = identity.to_string().into();
        match self
            .session
            .write(&key, Expect::At(now.revision), value)
            .await
        {
            // Looked at again, as a descendant of the cluster that it was.
            Ok(_) | Err(ClusterError::Conflict(_)) => Ok(Tried::Again),
            Err(error) => Err(error.into()),
        }
    }

    /// Follows a cluster in which nothing of ours stands, if its keys say that it is ours. What the
    /// journal calls it is written nowhere else.
    async fn observe(
        self,
        take_state: Option<GapReason>,
        accept_loss: bool,
    ) -> Result<Tried<S>, Error> {
        let newest = self.local.newest;
        let Some(bound_to) = self.local.bound_to.clone() else {
            let known = self.journal.end().timeline.map(|timeline| timeline.id);
            let identity = match known {
                Some(id) => named(id),
                None => {
                    let identity = self.remote.identity.clone();
                    let identity = named(identity.unwrap_or_else(Identity::generate).id);
                    tracing::info!(cluster = %identity.id, "observing this cluster from now on");
                    commit(self.journal, binding(&identity, Revision::NONE))?;
                    identity
                }
            };
            return self.go_on(identity, take_state, None).await;
        };
        let compared = self.compare(newest.min(self.remote.newest)).await?;
        let Likeness { same, other } =
            likeness(&self.session, self.journal, newest, self.stop).await?;
        let lacks = self.journal.end().open_gap.is_some();
        let went_back = |common| Refusal::RolledBack {
            local: bound_to.clone(),
            newest,
            common,
        };
        let refusal = match compared {
            Continuity::Same { stream, proven } if self.remote.newest >= newest => {
                if (proven || same > 0) && (other == 0 || lacks) {
                    return self.go_on(named(bound_to), take_state, Some(stream)).await;
                }
                (same > 0 || proven).then(|| went_back(Revision::NONE))
            }
            Continuity::Same { proven, .. } => {
                (same > 0 || proven).then(|| went_back(self.remote.newest))
            }
            Continuity::Parted { common, proven } => {
                (same > 0 || proven).then(|| went_back(common))
            }
            Continuity::Unknown if same > 0 && (other == 0 || lacks) => {
                let take_state = take_state.or(Some(GapReason::HistoryDiscarded));
                return self.go_on(named(bound_to), take_state, None).await;
            }
            Continuity::Unknown => (same > 0).then(|| went_back(Revision::NONE)),
        };
        match refusal {
            Some(Refusal::RolledBack { common, .. }) if accept_loss => {
                let identity = self.local.went_on_without(common);
                self.rebase(identity, common, accept_loss).await
            }
            Some(refusal) => self.refuse(refusal),
            None => self.refuse(Refusal::Unlike {
                local: bound_to,
                newest,
            }),
        }
    }

    /// Whether somebody deleted the name of a cluster that lives: what persisters say is there, and
    /// they say nothing before it has a name. A fresh cluster has none of that. What happened, and
    /// what is to be done now.
    async fn name_is_gone(&self) -> Result<Option<String>, Error> {
        let said = self.session.announcements().await?;
        let witness = said.iter().find(|(_, said)| said.watermark.is_some());
        let Some((id, _)) = witness else {
            return Ok(None);
        };
        // It had none when we looked, and had one before they said anything.
        if self.session.read(&ControlKey::Identity).await?.is_some() {
            return Ok(Some("somebody else has just named the cluster".to_owned()));
        }
        let name = match &self.local.bound_to {
            Some(name) => format!("with the value {name}"),
            None => "with the value that the log of another persister calls its cluster".to_owned(),
        };
        Ok(Some(format!(
            "the cluster has what persister {id} wrote, but its name is gone: somebody deleted the \
             key {IDENTITY}. Nothing else is lost. If this is the right cluster, write that key \
             back, {name}: all persisters then go on by themselves"
        )))
    }

    fn refuse(self, refusal: Refusal) -> Result<Tried<S>, Error> {
        let nameless = matches!(refusal, Refusal::Reset { .. });
        let refused = Error::Refused {
            refusal: Box::new(refusal),
            journal: Path::to_owned(self.journal.dir()),
        };
        if nameless && self.remote.newest < self.local.newest {
            return Ok(Tried::Nameless(refused));
        }
        Err(refused)
    }

    /// Names a cluster that has no name.
    async fn name(self) -> Result<Tried<S>, Error> {
        let name = Identity::generate().to_string();
        let key = ControlKey::Identity;
        match self.session.write(&key, Expect::Absent, name.into()).await {
            // Looked at again, so that one path leads from a name to a binding.
            Ok(_) => Ok(Tried::Again),
            // Not at once: a node that lags does not know the name yet that is in our way.
            Err(ClusterError::Conflict(_)) => Ok(Tried::Wait(
                "somebody else has just named the cluster".to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the state of a restored cluster, which may lack what the journal holds beyond
    /// `common`.
    async fn rebase(
        self,
        identity: Identity,
        common: Revision,
        accept_loss: bool,
    ) -> Result<Tried<S>, Error> {
        let newest = self.local.newest;
        let beyond =
            tokio::task::block_in_place(|| changes_beyond(&self.journal.reader()?, common))?;
        if (beyond.changes > 0 || beyond.or_more) && !accept_loss {
            return Err(Error::WouldLose(format!(
                "this journal holds {beyond}, up to revision {newest}, that the cluster was not \
                 restored with ({identity}): it has older values, or nothing, in their place. \
                 Following it would record those older values as the newest"
            )));
        }
        let first = first_unknown(&identity, newest, common);
        let marker = |revision| Some(binding(&identity, revision));
        let reason = GapReason::HistoryDiscarded;
        let taken = snapshot_diff::take(
            &self.session,
            self.journal,
            first,
            reason,
            marker,
            self.stop,
        )
        .await?;
        after(self.session, identity, taken, self.id.is_none()).await
    }

    /// Follows the cluster that the journal is bound to, by `stream` if there is one that begins
    /// after the journal's end; takes its state first if the journal lacks something.
    async fn go_on(
        self,
        identity: Identity,
        take_state: Option<GapReason>,
        stream: Option<Changes>,
    ) -> Result<Tried<S>, Error> {
        let end = self.journal.end();
        let next = end.revision.next();
        let lacking = match end.open_gap {
            // Damage, or a difference that was not completed. Damage is made good by a difference
            // like any other, so the new gap is not called damage again.
            Some(gap) if gap.reason == GapReason::Damage => {
                Some((gap.first, GapReason::HistoryDiscarded))
            }
            Some(gap) => Some((gap.first, gap.reason)),
            None => take_state.map(|reason| (next, reason)),
        };
        if let Some((first, reason)) = lacking {
            let (session, stop) = (&self.session, self.stop);
            let taken =
                snapshot_diff::take(session, self.journal, first, reason, |_| None, stop).await?;
            return after(self.session, identity, taken, self.id.is_none()).await;
        }
        let stream = stream.unwrap_or_else(|| Box::new(self.session.follow(next)));
        Ok(Tried::Attached(Attached {
            session: self.session,
            cluster: identity.id,
            identified_at: self.identified_at,
            next,
            stream,
            state_taken: false,
        }))
    }
}

/// What the journal calls a cluster.
fn named(id: String) -> Identity {
    Identity { id, origin: None }
}

/// The first revision of a restored cluster that the journal knows nothing of. `common`: the
/// newest revision of ours that it was restored with.
fn first_unknown(identity: &Identity, newest: Revision, common: Revision) -> Revision {
    match &identity.origin {
        Some(origin) if origin.outcome.is_kept() && origin.at == common => {
            newest.min(common).next()
        }
        // The numbers mean something else there: nothing is known.
        _ => Revision(1),
    }
}

/// Looks once more whether the cluster is still the one whose state was taken: what was written to
/// its identity meanwhile is not among the events that follow. One that is only observed has none
/// of ours.
async fn after<S: Session>(
    session: S,
    identity: Identity,
    taken: snapshot_diff::Taken,
    observes: bool,
) -> Result<Tried<S>, Error> {
    let (session, now, identified_at) = identified(&session).await?;
    if !observes && now.identity.is_none_or(|now| now.id != identity.id) {
        return Ok(Tried::Again);
    }
    Ok(Tried::Attached(Attached {
        session,
        cluster: identity.id,
        identified_at,
        next: taken.at.next(),
        stream: taken.stream,
        state_taken: true,
    }))
}
