//! What there is after a restore, compared with what there was: the evidence is collected here, and
//! `proof` judges it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_journal::{Reader, Revision};

use crate::ledger::audit::Revisions;
use crate::ledger::book::Ledger;
use crate::ledger::write::Found;
use crate::moment::Moment;
use crate::play::agreement::together;
use crate::play::inner::{Play, lock};
use crate::play::loss::Loss;
use crate::play::proof::{Compared, Evidence, figure, given_back, proof};
use crate::play::story::counted;
use crate::play::target::Target;
use crate::play::whole::{EVERY, READ};
use crate::told::feed::{Kind, Tone};
use crate::told::refusal::Refusal;
use crate::told::state::{HashKv, Proof};
use crate::world::decide::Condition;

/// How long the keys may take to be back.
const BACK: Duration = Duration::from_secs(30);

impl Play {
    /// Waits until the cluster is restored, and compares it with what was lost.
    pub(super) async fn prove(&self) -> Result<String, Refusal> {
        self.restored().await?;
        let quiet = self.0.clients.quiet().await?;
        let gone = || Refusal::Failed("the cluster is back and cannot be read".to_owned());
        let (mut found, now) = self.read(READ).await.ok_or_else(gone)?;
        let loss = lock(&self.0.loss).clone();
        let before = loss.as_ref().and_then(|loss| loss.before.clone());
        let journal = match &before {
            Some(before) if !before.same_state(&now) => self.journal_at(before).await,
            _ => None,
        };
        let hashes = match &loss {
            Some(loss) => self.histories(loss).await,
            None => Vec::new(),
        };
        let (audit, strangers) = {
            let mut ledger = self.0.clients.ledger.lock();
            // Other programs may write to this cluster, too; nobody knows what they were told.
            found.retain(|key, _| ledger.has(key));
            let strangers = {
                let then = match (&before, &journal) {
                    (Some(before), _) if before.same_state(&now) => Some(&found),
                    (Some(before), Some((then, state))) if before.same_state(then) => Some(state),
                    _ => None,
                };
                then.map_or_else(Vec::new, |then| strangers(&ledger, &found, then))
            };
            ledger.settle_those(&found, |key| strangers.iter().any(|it| it == key));
            let audit = ledger.audit(&found, Revisions::Any);
            // Everything that was sent before is dead, and what is there came from disks.
            ledger.settle(&found);
            (audit, strangers)
        };
        let shown = proof(&Evidence {
            before: before.as_ref(),
            now: &now,
            journal: journal.as_ref().map(|(then, _)| then),
            audit: &audit,
            strangers: &strangers,
            hashes: &hashes,
        });
        let says = shown.says.clone();
        let tone = if shown.equal { Tone::Ok } else { Tone::Bad };
        *lock(&self.0.proof) = Some(shown);
        *lock(&self.0.loss) = None;
        drop(quiet);
        let told = format!(
            "Restored: {}. {says}",
            counted(usize::try_from(now.keys).unwrap_or(usize::MAX), "key")
        );
        self.0.past.mark("restored", told.clone());
        self.feed().tell(Kind::Restore, tone, told, None);
        Ok(says)
    }

    /// Shows what giving an older state back has come to.
    pub(crate) fn given_back(
        &self,
        change: u64,
        then: &Moment,
        now: &Moment,
        left: &[String],
    ) -> Proof {
        let proof = given_back(change, then, now, left);
        *lock(&self.0.proof) = Some(proof.clone());
        self.0.past.mark("restored", proof.says.clone());
        proof
    }

    /// Waits until a node serves, and its cluster has been named by those who restore it.
    async fn restored(&self) -> Result<(), Refusal> {
        let begun = Instant::now();
        loop {
            self.look().await;
            let is_back = self.0.nodes.iter().any(|node| node.noted().node.is_whole());
            let attached = |target: &Target| {
                let status = target.noted().persister.status;
                status.is_some_and(|status| status.connected)
            };
            if is_back && self.0.persisters.iter().any(attached) {
                return Ok(());
            }
            let up = |target: &Target| target.condition() == Condition::Up;
            if !self.0.nodes.iter().any(up) {
                return Err(Refusal::NotNow("no node runs: start one".to_owned()));
            }
            if !self.0.persisters.iter().any(up) {
                let says = "no persister runs that could bring the keys back: start one";
                return Err(Refusal::NotNow(says.to_owned()));
            }
            if begun.elapsed() > BACK {
                let says = format!("the keys are not back within {BACK:?}: see the logs");
                return Err(Refusal::Failed(says));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What a journal held at the revision of the last look: the same, if any did. One that was
    /// begun after the loss followed the restore, which writes each key once, at its last revision:
    /// it has another state at that number, and cannot tell.
    async fn journal_at(&self, look: &Moment) -> Option<(Moment, Found)> {
        let journals: Vec<_> = self
            .0
            .persisters
            .iter()
            .filter_map(Target::journal)
            .collect();
        let revision = look.revision;
        let read = tokio::task::spawn_blocking(move || {
            let at = |journal: &PathBuf| {
                let reader = Reader::open(journal).ok()?;
                let state = reader.state(Some(Revision(revision))).ok()?;
                let moment = Moment::of_state(&state);
                let text = state.files.into_values().filter_map(|key| {
                    let text = String::from_utf8(key.path.to_vec()).ok()?;
                    Some((text, (key.revision.0, key.value)))
                });
                Some((moment, text.collect()))
            };
            journals.iter().filter_map(at).collect::<Vec<_>>()
        });
        let mut told: Vec<(Moment, Found)> = read.await.unwrap_or_default();
        let same = told.iter().position(|(told, _)| told.same_state(look));
        (!told.is_empty()).then(|| told.swap_remove(same.unwrap_or(0)))
    }

    /// What members of etcd say of their history, compared with what they said before the loss.
    async fn histories(&self, loss: &Loss) -> Vec<Compared> {
        let Some(agreed) = loss.agreed else {
            return Vec::new();
        };
        let what = format!("HashKV at revision {}", figure(agreed.said.revision));
        let asked = async |wanted: HashKv| {
            let said = self.hash_kv(wanted.revision).await;
            let said = together(&said).ok_or("the members do not agree, or do not answer")?;
            match said.said.compacted == wanted.compacted {
                true => Ok((said.said.hash, format!("on {} members", said.members))),
                false => Err("the members have compacted their history since".to_owned()),
            }
        };
        let Some(made) = &loss.made else {
            // They came back with their disks.
            return vec![Compared {
                what,
                before: agreed.said.hash,
                after: asked(agreed.said).await,
            }];
        };
        let told = "by the journal: all its history".to_owned();
        let history = Compared {
            what,
            before: agreed.said.hash,
            after: made.history.clone().map(|hash| (hash, told)),
        };
        let Some(file) = made.file else {
            return vec![history];
        };
        let members = Compared {
            what: format!("HashKV, file and new members, at {}", figure(file.revision)),
            before: file.hash,
            after: asked(file).await,
        };
        vec![history, members]
    }
}

/// The keys that are not as writers were told, and were so before the loss already: somebody else
/// has written there. `then`: what there was before the loss.
fn strangers(ledger: &Ledger, found: &Found, then: &Found) -> Vec<String> {
    let value = |of: &Found, key: &str| of.get(key).map(|(_, value)| value.clone());
    let mut faulty = ledger.faulty(found);
    faulty.retain(|key| value(found, key) == value(then, key));
    faulty
}
