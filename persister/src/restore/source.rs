//! What a journal has to give: its history's name and end, and its state at the point that is
//! wanted.
//!
//! Promise: nothing is written. A journal that somebody is writing to can be restored from as well
//! (to try a restore out in a cluster of its own); only whoever holds the lock may conclude that
//! another restore of the same journal is dead.

use std::path::Path;

use cairn_journal::{Directory, DirectoryLock, Gap, Journal, Reader, Revision, State, Uuid};

use crate::attach::nodes::Nodes;
use crate::attach::sides;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::rules::KeyRules;
use crate::cluster::session::Cluster;
use crate::error::Error;
use crate::identity::decision::LocalHistory;
use crate::identity::holder::place;
use crate::identity::lineage::{Choice, Origin};
use crate::restore::digest::Digest;
use crate::restore::leases::{Granted, Leases};
use crate::restore::options::{At, RestoreOptions};
use crate::restore::plan::Bidder;
use crate::restore::target::{Files, Target};

/// How many keys are named that are not restored.
const NAMED: usize = 10;

/// A journal to restore from.
#[derive(Debug)]
pub struct Source {
    reader: Reader,
    local: LocalHistory,
    open_gap: Option<Gap>,
    by: String,
    _lock: Option<DirectoryLock>,
}

/// The keys to bring back.
#[derive(Debug)]
pub(super) struct TargetState {
    pub(super) files: Files,
    pub(super) digest: Digest,
    pub(super) leases: Leases,
}

impl Source {
    /// A journal that this process has open.
    ///
    /// # Errors
    /// The journal's.
    pub fn of(journal: &Journal) -> Result<Self, cairn_journal::Error> {
        Ok(Self {
            reader: journal.reader()?,
            local: sides::local_history(journal)?,
            open_gap: journal.end().open_gap,
            by: holder(journal.uuid(), journal.dir()),
            _lock: None,
        })
    }

    /// The journal in `dir`, as it is now. `exclusive`: keep others from opening it, if nobody has
    /// it open already.
    ///
    /// # Errors
    /// The journal's.
    pub fn open(dir: &Path, exclusive: bool) -> Result<Self, cairn_journal::Error> {
        let reader = Reader::open(dir)?;
        let lock = if exclusive {
            Directory::at(dir).try_lock()?
        } else {
            None
        };
        let journal = reader.uuid()?;
        let by = if lock.is_some() {
            holder(journal, dir)
        } else {
            // Nobody can tell from the lock whether we live: no other restore must take us for its
            // own.
            format!("{journal}@{}", Uuid::new_v4())
        };
        let State {
            revision,
            timeline,
            open_gap,
            ..
        } = reader.state(None)?;
        Ok(Self {
            local: sides::history_of(&reader, journal, timeline, revision)?,
            reader,
            open_gap,
            by,
            _lock: lock,
        })
    }

    /// Whether others are kept from opening it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self._lock.is_some()
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        self.reader.dir()
    }

    pub(super) fn local(&self) -> &LocalHistory {
        &self.local
    }

    pub(super) fn by(&self) -> &str {
        &self.by
    }

    /// A session with a cluster that is lost, as far as all of its nodes that answer can tell.
    ///
    /// # Errors
    /// The cluster's; [`ClusterError::Unavailable`] if this node does not know what another one
    /// does: that the cluster lives.
    pub(crate) async fn reach<C: Cluster>(&self, cluster: &C) -> Result<C::Session, Error> {
        let session = cluster.open().await?;
        let (remote, _) = sides::remote_cluster(&session).await?;
        if remote.identity.is_none()
            && let Some(address) = Nodes::ask(cluster).await?.living(&self.local)
        {
            return Err(ClusterError::Unavailable(format!(
                "this node has no name, but {address} is a node of the cluster that the journal \
                 follows: it lags, or is a cluster of its own"
            ))
            .into());
        }
        Ok(session)
    }

    /// This journal as one that bids.
    pub(super) fn bidder(&self, options: &RestoreOptions) -> Bidder {
        Bidder {
            by: self.by.clone(),
            id: options.id,
            with: options.with.clone(),
            wait: options.wait_for_others,
        }
    }

    /// The changes of the journal that a restore of `origin` does not have, if any.
    pub(super) fn beyond(
        &self,
        origin: &Origin,
    ) -> Result<Option<sides::Beyond>, cairn_journal::Error> {
        let common = match &self.local.bound_to {
            Some(bound_to) if *bound_to == origin.parent => origin.at,
            // Of another life of the cluster: nothing is the same.
            _ => Revision::NONE,
        };
        let beyond = sides::changes_beyond(&self.reader, common)?;
        Ok((beyond.changes > 0 || beyond.or_more).then_some(beyond))
    }

    /// Finds out what `options` comes to. May read the whole journal, for a time.
    pub(super) fn target(&self, options: &RestoreOptions) -> Result<Target, cairn_journal::Error> {
        let newest = self.local.newest;
        let at = match options.at {
            At::Newest => newest,
            At::Revision(at) => at,
            At::Time(time) => {
                let at = self.reader.revision_at(time)?;
                if let Some(doubt) = at.doubt() {
                    tracing::warn!("--at-time {}: {doubt}", time.show());
                }
                at.revision.min(newest)
            }
        };
        let choice = if !options.prefixes.is_empty() {
            Choice::Only(options.prefixes.clone())
        } else if at == newest {
            Choice::Newest
        } else {
            Choice::Revision
        };
        Ok(Target { at, choice })
    }

    /// `options` with the revision that its time stands for. May read the whole journal.
    pub(super) fn settled(
        &self,
        options: &RestoreOptions,
    ) -> Result<RestoreOptions, cairn_journal::Error> {
        let at = match options.at {
            At::Time(_) => At::Revision(self.target(options)?.at),
            known => known,
        };
        Ok(RestoreOptions {
            at,
            ..options.clone()
        })
    }

    /// Why the state at `at` may lack something, if so.
    pub(super) fn lacks(&self, at: Revision) -> Option<String> {
        let gap = self.open_gap.filter(|gap| at >= gap.first)?;
        Some(format!(
            "this journal itself lacks changes of revisions {} to {} ({}). Another persister's \
             journal may have them: restore from that one",
            gap.first, gap.last, gap.reason
        ))
    }

    /// Reads the keys to bring back: all in memory, once; of an older state with leases, the newest
    /// one before it. `has_leases`: whether the cluster takes any.
    pub(super) fn target_state(
        &self,
        rules: &KeyRules,
        target: &Target,
        has_leases: bool,
    ) -> Result<TargetState, cairn_journal::Error> {
        let is_newest = target.at == self.local.newest;
        let mut state = self.state(target.at)?;
        let newest = match is_newest {
            true => None,
            false => Some(Granted::of(&self.state(self.local.newest)?)),
        };
        let granted = newest.unwrap_or_else(|| Granted::of(&state));
        let mut files = std::mem::take(&mut state.files);
        // Persisters of the cluster that was.
        files.retain(|_, key| !key.is_control);
        let is_wanted = target.selection(rules);
        files.retain(|path, _| is_wanted(path));
        let before = files.len();
        let mut left_out = Vec::new();
        files.retain(|path, _| {
            let stays = !rules.is_control(path);
            if !stays && left_out.len() < NAMED {
                left_out.push(path.escape_ascii().to_string());
            }
            stays
        });
        if files.len() < before {
            tracing::warn!(
                "{} keys of the journal are the cluster's own affair, and not restored: {} ...",
                before - files.len(),
                left_out.join(" ")
            );
        }
        let is_whole = !matches!(target.choice, Choice::Only(_));
        let leases = granted.leases_for(&mut files, has_leases, is_whole);
        let digest = Digest::of(files.iter().map(|(path, key)| (&**path, &*key.value)));
        Ok(TargetState {
            files,
            digest,
            leases,
        })
    }

    /// The state at a revision of the newest life, control keys among it.
    fn state(&self, at: Revision) -> Result<State, cairn_journal::Error> {
        let at = (at != self.local.newest).then_some(at);
        self.reader.clone().with_control().state(at)
    }
}

/// Who restores, as the claim says it. A copy of a journal has the same UUID and another lock, so
/// the place counts.
fn holder(journal: Uuid, dir: &Path) -> String {
    format!("{journal}@{}", place(dir))
}
