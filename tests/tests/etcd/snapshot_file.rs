//! A lost cluster comes back from a file that was made from a journal alone: by etcd's own tool, on
//! real members, and exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    CompactionRequest, Compare, DeleteRangeRequest, Event, EventType, HashKvRequest, KeyValue,
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, TxnRequest, WatchCreateRequest,
};
use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timeline, Timestamp};
use cairn_persister::cluster::etcd::attributes::attributes_of;
use cairn_protocol::keys;
use cairn_tests::{program, seeded, setting};
use fastrand::Rng;
use futures::StreamExt as _;
use serde_json::Value;

use crate::cluster::{Etcd, durable, put, revision};

/// How many revisions the history has. `CAIRN_SNAPSHOT_REVISIONS=2000` for a long look.
const REVISIONS: i64 = 250;

/// How many windows are compared with what the lost cluster said.
const WINDOWS: usize = 12;

/// How many of these are started by real members; `CAIRN_SNAPSHOT_MEMBERS=100` for a long look.
const MEMBERS: usize = 2;

/// The identity of the lost cluster.
const LOST: &str = "the-lost-one";

/// Owner of the lost persister 1: a lease of its own.
const OWNERS_LEASE: i64 = 0x77;

/// A cluster whose whole history is known, from its own watch.
pub(crate) struct Known {
    etcd: Etcd,
    session: Session,
    events: BTreeMap<i64, Vec<Event>>,
    /// Leases that are alive, with what they were granted.
    leases: BTreeMap<i64, i64>,
    pub(crate) newest: i64,
}

impl Known {
    pub(crate) async fn start(rng: &mut Rng, revisions: i64) -> Result<Self> {
        let etcd = Etcd::start(1)?;
        let session = etcd.session().await?;
        let mut known = Self {
            etcd,
            session,
            events: BTreeMap::new(),
            leases: BTreeMap::new(),
            newest: 1,
        };
        known.put(keys::IDENTITY, LOST, 0).await?;
        known.grant(OWNERS_LEASE).await?;
        known.put(&keys::owner(1), "j p 1", OWNERS_LEASE).await?;
        let large = Bytes::from(vec![7; 1_400_000]);
        let put = PutRequest::new("large", large);
        known.newest = revision(known.session.call(put).await?.header)?;
        while known.newest < revisions {
            known.step(rng).await?;
        }
        let newest = known.newest;
        known
            .put(&keys::watermark(1), &newest.to_string(), 0)
            .await?;
        known.events = told(&known.session, 2, known.newest).await?;
        Ok(known)
    }

    async fn put(&mut self, key: &str, value: &str, lease: i64) -> Result<()> {
        let put = PutRequest {
            lease,
            ..PutRequest::new(key.to_owned(), value.to_owned())
        };
        self.newest = revision(self.session.call(put).await?.header)?;
        Ok(())
    }

    async fn grant(&mut self, id: i64) -> Result<()> {
        let ttl = 600 + id;
        self.session.call(LeaseGrantRequest { ttl, id }).await?;
        self.leases.insert(id, ttl);
        Ok(())
    }

    /// One thing that a client may do.
    async fn step(&mut self, rng: &mut Rng) -> Result<()> {
        match rng.u8(..20) {
            0 => {
                let id = rng.i64(1..6);
                if !self.leases.contains_key(&id) {
                    self.grant(id).await?;
                }
            }
            1 if rng.bool() => {
                let id = rng.i64(1..6);
                if self.leases.remove(&id).is_some() {
                    let header = self.session.call(LeaseRevokeRequest { id }).await?.header;
                    self.newest = revision(header)?;
                }
            }
            2 => {
                let (a, b) = (key(rng), key(rng));
                let range = DeleteRangeRequest {
                    key: a.clone().min(b.clone()),
                    range_end: a.max(b),
                    ..DeleteRangeRequest::default()
                };
                self.newest = revision(self.session.call(range).await?.header)?;
            }
            3 => {
                let said = self.newest.to_string();
                self.put(&keys::watermark(1), &said, 0).await?;
            }
            _ => {
                let all: BTreeSet<Bytes> = (0..rng.usize(1..5)).map(|_| key(rng)).collect();
                let leases: Vec<i64> = self.leases.keys().copied().filter(|id| *id < 6).collect();
                let mut operation = |key: Bytes| {
                    if rng.u8(..4) == 0 {
                        return DeleteRangeRequest::key(key).into();
                    }
                    let length = *rng.choice(&[0, 1, 200, 5_000]).expect("there are some");
                    let value: Bytes = (0..length).map(|_| rng.u8(..)).collect();
                    let lease = match rng.u8(..3) {
                        0 => rng.choice(&leases).copied().unwrap_or_default(),
                        _ => 0,
                    };
                    let put = PutRequest::new(key, value);
                    PutRequest { lease, ..put }.into()
                };
                let txn = TxnRequest {
                    success: all.into_iter().map(&mut operation).collect(),
                    ..TxnRequest::default()
                };
                self.newest = revision(self.session.call(txn).await?.header)?;
            }
        }
        Ok(())
    }

    /// A journal of all of it, as a persister writes one.
    pub(crate) fn journal(&self, dir: &Path, rng: &mut Rng) -> Result<()> {
        let open = || Ok::<_, cairn_journal::Error>(Journal::open(dir, Options::default())?.0);
        let mut journal = open()?;
        let now = Timestamp::now();
        let timeline = Timeline {
            id: LOST.to_owned(),
            parent: None,
            at: Revision(0),
            kept: true,
            observed_at: now,
        };
        journal.append(NewRecord::timeline(Revision(0), timeline))?;
        for (at, events) in &self.events {
            let changes = (0..).zip(events).map(|(sub, event)| change(event, sub));
            let changes = changes.collect::<Result<_>>()?;
            let last = journal.append(NewRecord::changes(Revision(*at), changes, now))?;
            if rng.u8(..100) == 0 {
                journal.commit(last)?;
                journal.checkpoint()?;
                journal.close()?;
                // Each opening begins a segment.
                journal = open()?;
            }
        }
        for (id, ttl) in &self.leases {
            journal.append(NewRecord::lease(
                Revision(self.newest),
                *id,
                Some(*ttl),
                now,
            ))?;
        }
        Ok(journal.close()?)
    }

    /// The state at a revision, from the events.
    pub(crate) fn state(&self, at: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut state = BTreeMap::new();
        for event in self.events.range(..=at).flat_map(|(_, events)| events) {
            apply(&mut state, event);
        }
        state
    }
}

fn apply(state: &mut BTreeMap<Bytes, KeyValue>, event: &Event) {
    let kv = event.kv.clone().expect("an event has a key");
    if event.r#type == EventType::Put as i32 {
        state.insert(kv.key.clone(), kv);
    } else {
        state.remove(&kv.key);
    }
}

fn change(event: &Event, sub: usize) -> Result<Change> {
    let kv = event.kv.clone().context("an event has a key")?;
    let is_control = kv.key.starts_with(keys::FLAT_ROOT.as_bytes());
    let attributes = attributes_of(&kv).numbered(sub).to_bytes();
    let change = if event.r#type == EventType::Put as i32 {
        Change::set(kv.key, kv.value).with_attributes(attributes)
    } else {
        Change::delete(kv.key)
    };
    Ok(if is_control { change.control() } else { change })
}

fn key(rng: &mut Rng) -> Bytes {
    Bytes::from(vec![b'k', rng.u8(..12), 0, 0xff])
}

async fn told(session: &Session, from: i64, to: i64) -> Result<BTreeMap<i64, Vec<Event>>> {
    let mut told = BTreeMap::<i64, Vec<Event>>::new();
    if from > to {
        return Ok(told);
    }
    let mut watch = session.watch(WatchCreateRequest::all(from)).await?;
    while told.last_key_value().is_none_or(|(newest, _)| *newest < to) {
        for event in watch.next().await.context("the watch ended")??.events {
            let at = event
                .kv
                .as_ref()
                .context("an event has a key")?
                .mod_revision;
            told.entry(at).or_default().push(event);
        }
    }
    told.split_off(&(to + 1));
    Ok(told)
}

pub(crate) async fn state(session: &Session, at: i64) -> Result<BTreeMap<Bytes, KeyValue>> {
    let range = RangeRequest {
        revision: at,
        ..RangeRequest::all()
    };
    let answer = session.call(range).await?;
    Ok(answer
        .kvs
        .into_iter()
        .map(|kv| (kv.key.clone(), kv))
        .collect())
}

async fn hash(session: &Session, at: i64) -> Result<u32> {
    Ok(session.call(HashKvRequest { revision: at }).await?.hash)
}

/// Keys and values outside the control area.
pub(crate) fn values(state: &BTreeMap<Bytes, KeyValue>) -> BTreeMap<Bytes, Bytes> {
    let data = state
        .iter()
        .filter(|(key, _)| !key.starts_with(keys::FLAT_ROOT.as_bytes()));
    data.map(|(key, kv)| (key.clone(), kv.value.clone()))
        .collect()
}

/// Makes a file of a journal. Returns it with what was said of it.
pub(crate) fn file(journal: &Path, scratch: &Path, args: &[&str]) -> Result<(PathBuf, Value)> {
    let file = scratch.join(format!("{}.db", scratch.read_dir()?.count()));
    let output = Command::new(program("persister")?)
        .args(["restore", "--json", "-j"])
        .arg(journal)
        .arg("--to-snapshot")
        .arg(&file)
        .args(args)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {said}");
    Ok((file, serde_json::from_slice(&output.stdout)?))
}

pub(crate) fn number(report: &Value, name: &str) -> Result<i64> {
    let number = report[name].as_i64();
    number.with_context(|| format!("{name} in {report}"))
}

/// The cluster anew, from a file.
pub(crate) async fn restored(etcd: &mut Etcd, file: &Path) -> Result<Session> {
    for member in &mut etcd.members {
        member.restore(file)?;
    }
    etcd.start_again()?;
    etcd.session().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_of_a_random_history_comes_back_exactly() -> Result<()> {
    let mut rng = seeded("a random history of etcd")?;
    let revisions = setting("CAIRN_SNAPSHOT_REVISIONS", REVISIONS)?;
    let windows = setting("CAIRN_SNAPSHOT_WINDOWS", WINDOWS)?;
    let members = setting("CAIRN_SNAPSHOT_MEMBERS", MEMBERS)?;
    let mut known = Known::start(&mut rng, revisions).await?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    known.journal(&journal, &mut rng)?;
    let files = tempfile::tempdir()?;
    // The lost cluster can be compacted forwards only.
    let mut froms: Vec<i64> = (0..windows.max(members))
        .map(|_| rng.i64(2..known.newest))
        .collect();
    froms.sort_unstable();
    let mut compared: Vec<(i64, i64, u32, PathBuf)> = Vec::new();
    for from in froms {
        let at = rng.i64(from + 1..=known.newest);
        let compaction = CompactionRequest {
            revision: from,
            physical: true,
        };
        if compared.last().is_none_or(|(before, ..)| *before < from) {
            known.session.call(compaction).await?;
        }
        let hash = hash(&known.session, at).await?;
        let window = [from.to_string(), at.to_string()];
        let args = [
            "--rehearsal",
            "--history-from",
            &window[0],
            "--at-revision",
            &window[1],
        ];
        let (file, report) =
            file(&journal, files.path(), &args).with_context(|| format!("from {from} to {at}"))?;
        ensure!(
            number(&report, "hash-kv-at-newest")? == i64::from(hash),
            "from {from} to {at}: the lost cluster said {hash}: {report}"
        );
        ensure!(number(&report, "history-from")? == from && number(&report, "filled")? == 0);
        compared.push((from, at, hash, file));
    }
    rng.shuffle(&mut compared);
    for (from, at, expected, file) in compared.into_iter().take(members) {
        let window = || format!("from {from} to {at}");
        let session = restored(&mut known.etcd, &file)
            .await
            .with_context(window)?;
        ensure!(hash(&session, at).await? == expected, "{}", window());
        let again = told(&session, from + 1, at).await?;
        let before = known.events.range(from + 1..=at);
        ensure!(again.iter().eq(before), "{}: events differ", window());
        for revision in (from..=at).step_by(1 + rng.usize(..10)) {
            let same = state(&session, revision).await? == known.state(revision);
            ensure!(same, "{}: the state at {revision} differs", window());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_resumes_when_nothing_is_missing_and_lists_again_when_something_may_be()
-> Result<()> {
    let mut rng = seeded("a restored cluster of etcd")?;
    let mut known = Known::start(&mut rng, 80).await?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    known.journal(&journal, &mut rng)?;
    let files = tempfile::tempdir()?;
    let (end, newest) = (known.state(known.newest), known.newest);

    // Nothing came after the journal's end: all goes on.
    let (seamless, report) = file(&journal, files.path(), &["--seamless"])?;
    ensure!(
        number(&report, "history-from")? == 0,
        "all of it fits: {report}"
    );
    let session = restored(&mut known.etcd, &seamless).await?;
    ensure!(hash(&session, 0).await? == u32::try_from(number(&report, "hash-kv")?)?);
    let resumed = told(&session, newest + 1, newest + 1).await?;
    let events = resumed.values().flatten().map(|event| event.kv.clone());
    let events = events.collect::<Option<Vec<_>>>().context("keys")?;
    ensure!(events[0].key == keys::IDENTITY && events[0].version == 2);
    ensure!(
        events[0]
            .value
            .starts_with(report["identity"].as_str().unwrap_or("?").as_bytes())
    );
    ensure!(
        events[1].key == keys::owner(1),
        "its holder is dead: {events:?}"
    );
    let now = state(&session, 0).await?;
    ensure!(values(&now) == values(&end));
    let (key, kv) = end
        .iter()
        .find(|(key, _)| key.starts_with(b"k"))
        .context("a key")?;
    let swap = TxnRequest {
        compare: vec![Compare::unchanged(key.clone(), kv.mod_revision)],
        success: vec![PutRequest::new(key.clone(), "new").into()],
        ..TxnRequest::default()
    };
    let swapped = session.call(swap).await?;
    ensure!(swapped.succeeded && revision(swapped.header)? == newest + 2);
    leases_are_back(&known, &session, &end).await?;

    // Something may have come after it.
    let (jumped, report) = file(&journal, files.path(), &[])?;
    let session = restored(&mut known.etcd, &jumped).await?;
    let at = number(&report, "revision")?;
    ensure!(at > newest + 1_000_000 && report["identity"].to_string().contains("kept next"));
    ensure!(hash(&session, 0).await? == u32::try_from(number(&report, "hash-kv")?)?);
    let now = state(&session, 0).await?;
    ensure!(values(&now) == values(&end));
    for (key, kv) in now.iter().filter(|(key, _)| key.starts_with(b"k")) {
        ensure!(end.get(key) == Some(kv), "{key:?}: {kv:?}");
    }
    for from in [newest, newest + 1, newest + 20] {
        let mut watch = session.watch(WatchCreateRequest::all(from)).await?;
        let said = watch.next().await.context("an answer")?;
        ensure!(said.is_err(), "from {from} it must list again: {said:?}");
    }
    ensure!(!told(&session, at, at).await?.is_empty());

    // An older state, with the counter going on.
    let older = rng.i64(5..newest);
    let args = ["--seamless", "--at-revision", &older.to_string()];
    let (reverted, report) = file(&journal, files.path(), &args)?;
    let session = restored(&mut known.etcd, &reverted).await?;
    let last = number(&report, "revision")?;
    let mut cache = end.clone();
    for event in told(&session, newest + 1, last).await?.values().flatten() {
        apply(&mut cache, event);
    }
    ensure!(
        cache == state(&session, 0).await?,
        "the watcher missed something"
    );
    ensure!(values(&cache) == values(&known.state(older)));
    Ok(())
}

async fn leases_are_back(
    known: &Known,
    session: &Session,
    end: &BTreeMap<Bytes, KeyValue>,
) -> Result<()> {
    let ids = session.call(LeaseLeasesRequest {}).await?.leases;
    let ids: BTreeSet<i64> = ids.iter().map(|lease| lease.id).collect();
    let data = known
        .leases
        .keys()
        .copied()
        .filter(|id| *id != OWNERS_LEASE);
    ensure!(ids == data.collect(), "{ids:?}");
    for id in ids {
        let left = LeaseTimeToLiveRequest { id, keys: true };
        let left = session.call(left).await?;
        ensure!(Some(&left.granted_ttl) == known.leases.get(&id), "{left:?}");
        let attached = end.iter().filter(|(_, kv)| kv.lease == id);
        let mut attached: BTreeSet<Bytes> = attached.map(|(key, _)| key.clone()).collect();
        let mut found: BTreeSet<Bytes> = left.keys.into_iter().collect();
        // One key may have been put anew, without it.
        let detached = attached.difference(&found).cloned().collect::<Vec<_>>();
        ensure!(detached.len() <= 1, "{detached:?}");
        attached.retain(|key| found.contains(key));
        found.retain(|key| !attached.contains(key));
        ensure!(found.is_empty(), "{found:?}");
        session.call(LeaseRevokeRequest { id }).await?;
        for key in attached {
            let range = session.call(RangeRequest::key(key)).await?;
            ensure!(range.kvs.is_empty(), "the lease took its key along");
        }
    }
    Ok(())
}

/// The whole way, with a real persister before and after.
async fn a_persister_goes_on(flag: Option<&str>) -> Result<()> {
    let mut etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut persister = etcd.persister(1, &journal, &[])?;
    for n in 0..30 {
        let key = |at: i32| PutRequest::new(format!("k{}", (n + at) % 7), n.to_string());
        let txn = TxnRequest {
            success: vec![key(0).into(), key(3).into()],
            ..TxnRequest::default()
        };
        session.call(txn).await?;
    }
    let last = put(&session, "last", "one").await?;
    durable(&session, 1, last).await?;
    persister.end_in_order()?;
    let before = state(&session, 0).await?;
    let files = tempfile::tempdir()?;
    let args: Vec<&str> = flag.into_iter().collect();
    let (made, report) = file(&journal, files.path(), &args)?;
    let newest = number(&report, "newest")?;
    ensure!(
        number(&report, "filled")? == 0 && number(&report, "unnumbered")? == 0,
        "{report}"
    );
    if flag.is_some() {
        let from = number(&report, "history-from")?;
        ensure!(from <= 2, "all of it is known: {report}");
        let lost = hash(&session, newest).await?;
        ensure!(
            number(&report, "hash-kv-at-newest")? == i64::from(lost),
            "the lost cluster said {lost}: {report}"
        );
    }
    let session = restored(&mut etcd, &made).await?;
    ensure!(values(&state(&session, 0).await?) == values(&before));
    let mut persister = etcd.persister(1, &journal, &[])?;
    let next = put(&session, "next", "one").await?;
    durable(&session, 1, next).await?;
    ensure!(next > number(&report, "revision")?);
    persister.end_in_order()?;
    let log = persister.log();
    ensure!(
        log.contains("going on") && !log.contains("one by one"),
        "{log}"
    );
    // And it can be lost again.
    let (_, again) = file(&journal, files.path(), &["--seamless"])?;
    ensure!(number(&again, "newest")? >= next, "{again}");
    let from = number(&again, "history-from")?;
    // Nothing ever was where the counter jumped.
    ensure!((from > newest) == flag.is_none(), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_goes_on_where_nothing_was_missing() -> Result<()> {
    a_persister_goes_on(Some("--seamless")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_goes_on_beyond_what_may_be_missing() -> Result<()> {
    a_persister_goes_on(None).await
}
