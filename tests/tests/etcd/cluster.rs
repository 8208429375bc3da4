//! A cluster of real members, a persister beside it, and what each of them has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::wire::{
    Event, EventType, KeyValue, PutRequest, RangeRequest, ResponseHeader, WatchCreateRequest,
};
use cairn_etcd::{Environment, Options, Session, Target, Uri};
use cairn_etcd_member::Member;
use cairn_journal::{Entry, Op, replay::Replay};
use cairn_protocol::{keys, progress};
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::Client;
use cairn_tests::{Process, eventually, records};
use futures::StreamExt as _;

/// Members that lose nothing by SIGKILL, though they could by a power cut.
pub(crate) const NO_FSYNC: &[&str] = &["--unsafe-no-fsync"];

/// The exit statuses of `docs/operations.md`.
pub(crate) const NOT_OUR_CLUSTER: i32 = 20;
pub(crate) const WENT_BACK: i32 = 29;

/// What one revision did outside the control area, in order: a key, and its value or its end.
pub(crate) type Changes = Vec<(Bytes, Option<Bytes>)>;

/// What each revision did, without those that did nothing outside the control area.
pub(crate) type History = BTreeMap<i64, Changes>;

/// A running cluster.
pub(crate) struct Etcd {
    pub(crate) members: Vec<Member>,
    pub(crate) uri: String,
}

impl Etcd {
    pub(crate) fn start(count: usize) -> Result<Self> {
        Self::start_with(count, NO_FSYNC)
    }

    pub(crate) fn start_with(count: usize, args: &[&str]) -> Result<Self> {
        let members = Member::cluster(count, args)?;
        let addresses = members
            .iter()
            .map(|member| format!("127.0.0.1:{}", member.port()));
        let uri = format!("etcd://{}", addresses.collect::<Vec<_>>().join(","));
        Ok(Self { members, uri })
    }

    pub(crate) async fn session(&self) -> Result<Session> {
        eventually("a member with a leader", || async {
            Ok(session_at(&self.uri).await.ok())
        })
        .await
    }

    pub(crate) fn kill(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }

    /// All of them are killed, and lose everything.
    pub(crate) fn wipe(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::wipe)
    }

    pub(crate) fn start_again(&mut self) -> Result<()> {
        ensure!(
            Member::start_all(&mut self.members)?,
            "a member does not start"
        );
        Ok(())
    }

    /// Starts `persister --id ID -a URI -j JOURNAL` with further arguments.
    pub(crate) fn persister(&self, id: u32, journal: &Path, args: &[&str]) -> Result<Process> {
        let id = id.to_string();
        let journal = journal.to_str().context("a test directory is UTF-8")?;
        let fixed = ["--id", &id, "-a", &self.uri, "-j", journal];
        Process::start("persister", [&fixed, args].concat())
    }
}

/// A sync client.
pub(crate) async fn connect_with(
    uri: &str,
    durability: Durability,
    options: Options,
) -> Result<Client> {
    let target = Target::new(&uri.parse()?, &Environment::default())?;
    Ok(Client::connect_to(target, durability, options).await?)
}

/// A sync client with the usual options.
pub(crate) async fn connect(uri: &str, durability: Durability) -> Result<Client> {
    connect_with(uri, durability, Options::default()).await
}

/// A session with one of the members at `uri`, if any can be had now.
pub(crate) async fn session_at(uri: &str) -> Result<Session> {
    let uri: Uri = uri.parse()?;
    let target = Target::new(&uri, &Environment::default())?;
    let cluster = cairn_etcd::Cluster::new(target, Options::default());
    Ok(cluster.open().await?)
}

pub(crate) fn revision(header: Option<ResponseHeader>) -> Result<i64> {
    Ok(header.context("an answer has a header")?.revision)
}

pub(crate) async fn put(session: &Session, key: &str, value: &str) -> Result<i64> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let put = PutRequest::new(key, value.to_owned());
    revision(session.call(put).await?.header)
}

/// What lives outside the control area.
pub(crate) async fn live(session: &Session) -> Result<Vec<KeyValue>> {
    let all = session.call(RangeRequest::all()).await?.kvs.into_iter();
    let data = all.filter(|key| !key.key.starts_with(keys::FLAT_ROOT.as_bytes()));
    Ok(data.collect())
}

/// Puts `count` times over a few keys. The newest revision.
pub(crate) async fn put_many(session: &Session, value: &str, count: usize) -> Result<i64> {
    let mut newest = 0;
    for at in 0..count {
        newest = put(session, &format!("k/{}", at % 7), value).await?;
    }
    Ok(newest)
}

/// Waits until the restore is over: the identity says so.
pub(crate) async fn restore_is_over(session: &Session, process: &Process) -> Result<()> {
    let is_over = || async {
        let identity = session.call(RangeRequest::key(keys::IDENTITY)).await?.kvs;
        let text = identity.first().map(|key| &key.value);
        Ok(text
            .is_some_and(|text| String::from_utf8_lossy(text).contains(" kept"))
            .then_some(()))
    };
    eventually("the restore is over", is_over)
        .await
        .with_context(|| process.log())
}

/// The watermark of a persister, if it has said any.
pub(crate) async fn watermark(session: &Session, id: u32) -> Result<Option<i64>> {
    let answer = session.call(RangeRequest::key(keys::watermark(id))).await?;
    let value = answer
        .kvs
        .first()
        .map(|key| progress::parse_revision(&key.value));
    value
        .transpose()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// Waits until persister `id` has everything up to `revision` on disk, as its watermark says.
pub(crate) async fn durable(session: &Session, id: u32, revision: i64) -> Result<()> {
    let what = format!("watermark of persister {id} at {revision}");
    eventually(&what, || async {
        let said = watermark(session, id).await?;
        Ok(said.filter(|said| *said >= revision).map(drop))
    })
    .await
}

/// Everything that happened from revision `from` to `to`, as the cluster tells it.
pub(crate) async fn told(session: &Session, from: i64, to: i64) -> Result<History> {
    let mut watch = session.watch(WatchCreateRequest::all(from)).await?;
    let (mut history, mut newest) = (History::new(), from - 1);
    while newest < to {
        for event in watch.next().await.context("the watch ended")??.events {
            newest = take_in(&mut history, event)?;
        }
    }
    history.split_off(&(to + 1));
    Ok(history)
}

/// Takes an event in. Returns its revision.
pub(crate) fn take_in(history: &mut History, event: Event) -> Result<i64> {
    let key = event.kv.context("an event has a key")?;
    if !key.key.starts_with(keys::FLAT_ROOT.as_bytes()) {
        let is_put = event.r#type == EventType::Put as i32;
        let changes = history.entry(key.mod_revision).or_default();
        changes.push((key.key, is_put.then_some(key.value)));
    }
    Ok(key.mod_revision)
}

/// What a journal says of each revision; fails if one stands there twice, or out of order.
pub(crate) fn journaled(journal: &Path) -> Result<History> {
    let (mut history, mut newest, mut replay) = (History::new(), 0, Replay::default());
    for record in records(journal)? {
        replay.record(&record);
        if replay.in_snapshot_diff() {
            continue; // a state, and not what one revision did
        }
        let Entry::Changes { changes, .. } = record.entry else {
            continue;
        };
        let revision = record.revision.0;
        ensure!(revision > newest, "{revision} stands after {newest}");
        newest = revision;
        let changes: Changes = changes
            .into_iter()
            .map(|change| match change.op {
                Op::Set(value) => (change.path, Some(value)),
                Op::Delete => (change.path, None),
            })
            .collect();
        if !changes.is_empty() {
            history.insert(revision, changes);
        }
    }
    Ok(history)
}

/// Fails with the first difference of two histories from `from` to `to`.
pub(crate) fn same(a: &History, b: &History, from: i64, to: i64) -> Result<()> {
    for revision in from..=to {
        let (a, b) = (a.get(&revision), b.get(&revision));
        ensure!(
            a == b,
            "revision {revision} differs: {:?} and {:?}",
            a.map(|changes| changes.len()),
            b.map(|changes| changes.len())
        );
    }
    Ok(())
}

/// Copies what a member has, which must be down.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
