//! Putting back against a model: random histories, a random part of them lost, strangers who write
//! before, between and after all calls, and runs that end at a random call, its answer lost or not.
//!
//! `CAIRN_PUT_BACK_CASES` runs more cases, `CAIRN_SEED` the same ones again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_journal::{Journal, NewRecord, Op, Options, Revision, Timestamp};
use fastrand::Rng;
use futures::{FutureExt as _, StreamExt as _};

use crate::attach::attempt::Attached;
use crate::attach::{Found, Restore, attach};
use crate::cluster::conformance::fake::FakeRig;
use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::rig::Rig;
use crate::cluster::control::ControlKey;
use crate::cluster::followed::Followed;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::{Expect, Key, Write};
use crate::restore::put_back::{PutBack, PuttingBack, put_back};

const CASES: u64 = 30;
const KEYS: u64 = 12;

/// The most calls that one run makes, roughly.
const CALLS: u64 = 120;

/// After so many runs nobody disturbs any more.
const RUNS: usize = 6;

/// The value of each key that there is, with the revision that put it.
type State = BTreeMap<Bytes, (Revision, Bytes)>;

/// What one revision did to keys: `None` stands for a delete.
type Revisions = BTreeMap<Revision, Vec<(Bytes, Option<Bytes>)>>;

/// The one who writes: each value names its writer, so no two are the same.
fn writes(random: &mut Rng, who: &str, count: &mut u64) -> Vec<Write> {
    let keys: BTreeSet<u64> = (0..=random.u64(..4)).map(|_| random.u64(..KEYS)).collect();
    let mut all: Vec<Write> = (keys.into_iter())
        .map(|key| {
            *count += 1;
            let value = (random.u8(..3) > 0).then(|| format!("{who}{count}").into());
            write(format!("k{key}"), value)
        })
        .collect();
    // So that no revision of deletes alone is by chance what was lost.
    *count += 1;
    all.push(write(who.to_owned(), Some(count.to_string().into())));
    all
}

fn write(path: String, value: Option<Bytes>) -> Write {
    Write {
        key: Key::Data(path.into()),
        expect: Expect::Any,
        value,
        lease: 0,
    }
}

/// What a followed revision did to keys that are data.
fn data(followed: &Followed) -> Vec<(Bytes, Option<Bytes>)> {
    let changes = followed.changes.iter().filter(|it| !it.is_control);
    changes
        .map(|change| match &change.op {
            Op::Set(value) => (change.path.clone(), Some(value.clone())),
            Op::Delete => (change.path.clone(), None),
        })
        .collect()
}

fn state_at(revisions: &Revisions, at: Revision) -> State {
    let mut state = State::new();
    for (revision, changes) in revisions.range(..=at) {
        for (path, value) in changes {
            match value {
                Some(value) => state.insert(path.clone(), (*revision, value.clone())),
                None => state.remove(path),
            };
        }
    }
    state
}

/// Everything that the cluster has been told, up to now.
async fn told(session: &impl Session) -> Result<Revisions> {
    let (now, mut stream) = (session.revision().await?, session.follow(Revision(1)));
    let mut all = Revisions::new();
    while all.last_key_value().is_none_or(|(last, _)| *last < now) {
        let followed = stream.next().await.context("the stream ended")??;
        all.insert(followed.revision, data(&followed));
    }
    Ok(all)
}

/// Journals what has happened by now. The newest revision.
async fn journal_all<S: Session>(
    attached: &mut Attached<S>,
    journal: &Journal,
) -> Result<Revision> {
    let now = attached.session.revision().await?;
    while attached.next <= now {
        let followed = attached.stream.next().await.context("the stream ended")??;
        attached.next = followed.revision.next();
        if !followed.changes.is_empty() {
            let now = Timestamp::now();
            journal.append(NewRecord::changes(followed.revision, followed.changes, now))?;
        }
    }
    let closing = NewRecord::watermark(now, Timestamp::now());
    journal.append_and_commit(closing)?;
    Ok(now)
}

async fn attached<C: Cluster>(cluster: &C, journal: &Journal) -> Result<Attached<C::Session>> {
    let (never, goes_on) = (Restore::Never, tokio_util::sync::CancellationToken::new());
    match attach(cluster, journal, Some(1), None, false, never, &goes_on).await? {
        Some(Found::Attached(attached)) => Ok(attached),
        _ => bail!("nobody cancelled, and nobody restores"),
    }
}

/// What strangers did.
#[derive(Default)]
struct Strangers {
    revisions: BTreeSet<Revision>,
    count: u64,
}

/// One cluster that went back, and what is put back into it.
struct Case {
    rig: FakeRig,
    journal: Journal,
    _dir: tempfile::TempDir,
    random: Rng,
    /// What the journal has.
    journaled: Revisions,
    newest: Revision,
    common: Revision,
    strangers: Arc<Mutex<Strangers>>,
    /// Where the cluster was when each run began.
    begun: Vec<Revision>,
}

impl Case {
    async fn new(mut random: Rng) -> Result<Self> {
        let (rig, dir) = (FakeRig::new(Fault::None), tempfile::tempdir()?);
        let journal = Journal::open(dir.path(), Options::default())?.0;
        let cluster = rig.cluster(1);
        let mut attached = attached(&cluster, &journal).await?;
        let session = attached.session.clone();
        let mut count = 0;
        for _ in 0..random.u64(1..12) {
            session.apply(&writes(&mut random, "h", &mut count)).await?;
        }
        let said = journal_all(&mut attached, &journal).await?;
        let watermark = ControlKey::Watermark(1);
        let said = said.to_string().into();
        let proof = session.write(&watermark, Expect::Any, said).await?;
        for _ in 0..random.u64(1..25) {
            session.apply(&writes(&mut random, "h", &mut count)).await?;
        }
        let newest = journal_all(&mut attached, &journal).await?;
        let journaled = told(&session).await?;
        let common = Revision(random.i64(proof.0..newest.0));
        rig.roll_back(common).await?;
        Ok(Self {
            rig,
            journal,
            _dir: dir,
            random,
            journaled,
            newest,
            common,
            strangers: Arc::default(),
            begun: Vec::new(),
        })
    }

    /// Strangers write so many revisions.
    fn strangers_write(&mut self, revisions: u64) {
        for _ in 0..revisions {
            stranger_writes(&self.rig, &self.strangers, &mut self.random);
        }
    }

    /// From now on strangers write between calls, and after some calls all connections end.
    fn disturb(&mut self) {
        let (rig, strangers) = (self.rig.clone(), Arc::clone(&self.strangers));
        let mut random = self.random.fork();
        let one_in = random.u64(2..40);
        let mut left = random.u64(1..CALLS);
        let what = move || {
            if random.u64(..one_in) == 0 {
                stranger_writes(&rig, &strangers, &mut random);
            }
            left = left.saturating_sub(1);
            if left == 0 {
                let cut = rig.cut().now_or_never();
                cut.expect("it does not wait").expect("it cannot fail");
            }
        };
        self.rig.between_calls(Some(Box::new(what)));
    }

    /// Runs until one run comes to its end.
    async fn put_back(&mut self) -> Result<PutBack> {
        loop {
            if self.begun.len() < RUNS && self.random.bool() {
                self.disturb();
            }
            let session = self.rig.cluster(1).open().await?;
            let put_back = async {
                self.begun.push(session.revision().await?);
                put_back(&session, &self.journal, 1).await
            };
            let came = put_back.await;
            self.rig.between_calls(None);
            match came {
                Ok(PuttingBack::Done(put_back)) => return Ok(*put_back),
                Err(error) if error.is_unavailable() => {}
                // The name was written, and the answer was lost.
                Ok(PuttingBack::Again) if self.begun.len() > 1 => return Ok(PutBack::default()),
                Ok(other) => bail!("{other:?}"),
                Err(error) => return Err(error.into()),
            }
            let some = self.random.u64(..3);
            self.strangers_write(some);
        }
    }

    /// What must be there, and what must not have been written.
    async fn check(&self, put_back: &PutBack) -> Result<()> {
        let session = self.rig.cluster(1).open().await?;
        let (cluster, strangers) = (told(&session).await?, self.strangers());
        let (before, lost) = (
            state_at(&self.journaled, self.common),
            state_at(&self.journaled, self.newest),
        );
        let mut last_lost = BTreeMap::new();
        for (revision, changes) in self.journaled.range(self.common.next()..) {
            last_lost.extend(changes.iter().map(|(path, _)| (path.clone(), *revision)));
        }
        // What was written since, each with its revision.
        let (mut ours, mut others) = (BTreeMap::new(), BTreeMap::<Bytes, Vec<Revision>>::new());
        for (at, changes) in cluster.range(self.common.next()..) {
            for (path, value) in changes {
                if strangers.contains(at) {
                    others.entry(path.clone()).or_default().push(*at);
                    continue;
                }
                let is_lost = lost.get(path).map(|(_, value)| value);
                ensure!(
                    last_lost.contains_key(path),
                    "{path:?} at {at} was not lost"
                );
                ensure!(is_lost == value.as_ref(), "{path:?} at {at} was not so");
                ensure!(
                    *at > self.newest,
                    "{path:?} at {at} has a number that was lost"
                );
                let run = self.begun.iter().rfind(|begun| *begun < at);
                let seen = run.context("no run had begun")?;
                for other in others.get(path).into_iter().flatten() {
                    // One that came and went between the look and the write leaves no trace.
                    let is_hidden = other > seen
                        && !before.contains_key(path)
                        && !state_at(&cluster, at.previous()).contains_key(path);
                    ensure!(is_hidden, "{path:?} at {at} was a stranger's since {other}");
                }
                let twice = ours.insert(path.clone(), *at);
                ensure!(
                    twice.is_none(),
                    "{path:?} was put back at {twice:?} and {at}"
                );
            }
        }
        let now = state_at(&cluster, Revision(i64::MAX));
        for (path, at) in &last_lost {
            if others.contains_key(path) {
                continue;
            }
            let value = |state: &State| state.get(path).map(|(_, value)| value.clone());
            ensure!(value(&now) == value(&lost), "{path:?} is not as it was");
            let together = last_lost.iter().filter(|(other, last)| {
                *last == at && !others.contains_key(*other) && ours.contains_key(*other)
            });
            let revisions: BTreeSet<_> = together.map(|(other, _)| ours[other]).collect();
            ensure!(
                revisions.len() <= 1,
                "{at} came back in pieces: {revisions:?}"
            );
        }
        let identity = session.read(&ControlKey::Identity).await?;
        let identity = identity.context("it has a name")?.value;
        ensure!(identity.ends_with(b" shifted"), "{identity:?}");
        // What is told of it, unless the answer was lost.
        let begun = self.begun.last().context("there was a run")?;
        let is_calm = strangers.range(begun..).next().is_none();
        if put_back.newest == self.newest && is_calm {
            let wrote = ours.values().filter(|at| *at > begun).count() as u64;
            ensure!(put_back.put + put_back.deleted == wrote, "{put_back:?}");
            let differs = |path: &&Bytes| {
                let value = |state: &State| state.get(*path).map(|(_, value)| value.clone());
                value(&now) != value(&lost)
            };
            let is_there = |path: &&Bytes| {
                last_lost.contains_key(*path)
                    && (before.contains_key(*path) || lost.contains_key(*path))
            };
            let left: Vec<_> = others.keys().filter(is_there).filter(differs).collect();
            ensure!(
                left == put_back.left.iter().collect::<Vec<_>>(),
                "{put_back:?}"
            );
        }
        Ok(())
    }

    fn strangers(&self) -> BTreeSet<Revision> {
        let strangers = self.strangers.lock().expect("no stranger panics");
        strangers.revisions.clone()
    }

    /// The persister goes on, and its journal comes to the cluster's state.
    async fn go_on(&self) -> Result<()> {
        let mut attached = attached(&self.rig.cluster(1), &self.journal).await?;
        journal_all(&mut attached, &self.journal).await?;
        let there = state_at(&told(&attached.session).await?, Revision(i64::MAX));
        let state = self.journal.reader()?.state(None)?.files.into_iter();
        let state: State = state
            .map(|(path, key)| (path, (key.revision, key.value)))
            .collect();
        ensure!(
            state == there,
            "the journal has {state:?}, the cluster {there:?}"
        );
        Ok(())
    }
}

fn stranger_writes(rig: &FakeRig, strangers: &Mutex<Strangers>, random: &mut Rng) {
    let mut strangers = strangers.lock().expect("no stranger panics");
    let all = writes(random, "s", &mut strangers.count);
    let cluster = rig.cluster(2);
    let written = async { cluster.open().await?.apply(&all).await };
    let at = written.now_or_never().expect("it does not wait");
    let at = at.expect("no condition").expect("it puts a key");
    strangers.revisions.insert(at);
}

#[expect(clippy::print_stdout)] // the seed, for those who want to see it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_back_is_what_was_lost_and_nobody_has_written_since() -> Result<()> {
    let from_environment = |name, default| match std::env::var(name) {
        Ok(value) => value.parse().context(name),
        Err(_) => Ok(default),
    };
    let cases = from_environment("CAIRN_PUT_BACK_CASES", CASES)?;
    let seed = from_environment("CAIRN_SEED", fastrand::u64(..))?;
    println!("CAIRN_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let (mut runs, mut strangers) = (0, 0);
    for number in 0..cases {
        let tried = async {
            let mut case = Case::new(random.fork()).await?;
            let some = case.random.u64(..30);
            case.strangers_write(some);
            let put_back = case.put_back().await?;
            case.check(&put_back).await?;
            case.go_on().await?;
            anyhow::Ok((case.begun.len(), case.strangers().len()))
        };
        let (begun, wrote) = tried
            .await
            .with_context(|| format!("case {number} of CAIRN_SEED={seed}"))?;
        runs += begun;
        strangers += wrote;
    }
    println!("{cases} cases, {runs} runs, {strangers} revisions of strangers");
    Ok(())
}
