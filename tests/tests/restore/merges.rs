//! Merges of any state into any cluster, also interrupted anywhere, against the plainest model.
//!
//! The model: a key of the state has its value afterwards; one that had it before was not written,
//! and one that was written is newer than every revision of the old cluster. Every other key is as
//! it was, or gone, where that was asked for. If that is impossible, since a file would have to be
//! a directory, nothing was written at all. After an interruption each key is as before or as it
//! should be, and another merge completes the work.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, Revision, Uri};
use cairn_lite::{Options, Server};
use cairn_persister::cluster::Cluster;
use cairn_persister::cluster::doozer::Doozer;
use cairn_persister::error::Error;
use cairn_persister::restore::{At, Merge, RestoreOptions, Restored, Source, restore};
use cairn_sync_client::keys;
use cairn_tests::{Tree, seeded, setting, tree};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::history::{History, OLD, random_path};

/// A cluster in this process.
struct Node {
    client: Client,
    uri: Uri,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let uri = Uri::from_address(&listener.local_addr()?.to_string())?;
        let server = Server::new(Options::default())?;
        let serving = tokio::spawn(server.run(listener, std::future::pending()));
        let client = Client::connect(&uri).await?;
        Ok(Self {
            client,
            uri,
            serving,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Writes keys of which some are the state's, with its value or another one, and some are not.
/// Paths that cannot be beside those that are there are refused by the node, and left out.
async fn fill(random: &mut fastrand::Rng, client: &Client, state: &Tree) -> Result<()> {
    // Those beside which the whole state can be, more often than not.
    let clashes = random.u8(..4) == 0;
    for _ in 0..random.usize(1..60) {
        let known = state.iter().nth(random.usize(..state.len().max(1)));
        let (path, value) = match known {
            Some((path, (_, value))) if random.bool() => (path.clone(), value.clone()),
            Some((path, _)) if random.bool() => (path.clone(), Bytes::from_static(b"other")),
            _ if clashes => (random_path(random), Bytes::from_static(b"mine")),
            _ => (
                format!("/mine/{}", random.u8(..40)),
                Bytes::from_static(b"mine"),
            ),
        };
        match client.set(&path, Revision::ANY, value).await {
            Ok(_) | Err(cairn_client::Error::Server { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

/// Whether one of the two lies below the other.
fn exclude(a: &str, b: &str) -> bool {
    a.starts_with(&format!("{b}/")) || b.starts_with(&format!("{a}/"))
}

async fn merge(node: &Node, source: &Source, options: &RestoreOptions) -> Result<Restored, Error> {
    let session = Doozer::new(node.uri.clone(), 0).open().await?;
    restore(&session, source, options).await
}

/// Merges until the cluster has come to revision `upto`, and drops everything then.
async fn merge_a_part(
    node: &Node,
    source: &Source,
    options: &RestoreOptions,
    upto: i64,
) -> Result<()> {
    tokio::select! {
        biased;
        reached = node.client.wait("/**", Revision(upto)) => drop(reached?),
        merged = merge(node, source, options) => drop(merged?),
    }
    Ok(())
}

/// What the model says of a cluster.
struct Model<'a> {
    before: &'a Tree,
    state: &'a Tree,
    /// The newest revision of the old cluster.
    newest: i64,
    /// Whether keys go that the state does not have.
    deletes: bool,
}

impl Model<'_> {
    fn is_as_it_was(&self, path: &str, now: Option<&(Revision, Bytes)>) -> bool {
        self.before.get(path) == now
    }

    fn is_merged(&self, path: &str, now: Option<&(Revision, Bytes)>) -> bool {
        let (Some((_, value)), Some(now)) = (self.state.get(path), now) else {
            return false;
        };
        match self.before.get(path) {
            Some(before) if before.1 == *value => before == now,
            _ => now.1 == *value && now.0.0 > self.newest,
        }
    }

    fn check(&self, found: &Tree, is_complete: bool) -> Result<()> {
        let mut all: BTreeMap<&String, ()> = BTreeMap::new();
        for path in [self.before, self.state, found]
            .into_iter()
            .flat_map(Tree::keys)
        {
            all.insert(path, ());
        }
        for path in all.into_keys() {
            let now = found.get(path);
            let is_right = match self.state.contains_key(path) {
                true if is_complete => self.is_merged(path, now),
                true => self.is_merged(path, now) || self.is_as_it_was(path, now),
                false if self.deletes && is_complete => now.is_none(),
                false => self.is_as_it_was(path, now) || self.deletes && now.is_none(),
            };
            ensure!(
                is_right,
                "{path}: was {:?}, should be {:?}, is {now:?}",
                self.before.get(path),
                self.state.get(path)
            );
        }
        Ok(())
    }

    /// Compares what the merge says of itself.
    fn check_report(&self, merge: &Merge) -> Result<()> {
        let same = |path: &String| {
            let (before, state) = (self.before.get(path), self.state.get(path));
            before.map(|file| &file.1) == state.map(|file| &file.1)
        };
        let created = self
            .state
            .keys()
            .filter(|path| !self.before.contains_key(*path));
        let kept = self.state.keys().filter(|path| same(path)).count();
        let others = self
            .before
            .keys()
            .filter(|path| !self.state.contains_key(*path));
        let created = created.count();
        ensure!(merge.created.len() == created, "{merge:?}");
        ensure!(merge.same == kept as u64, "{merge:?}");
        let (others, deleted) = match self.deletes {
            true => (0, others.count()),
            false => (others.count(), 0),
        };
        ensure!(merge.others == others as u64, "{merge:?}");
        ensure!(merge.deleted.len() == deleted, "{merge:?}");
        ensure!(merge.overwritten.len() == self.state.len() - created - kept);
        for key in merge.overwritten.iter().chain(&merge.deleted) {
            let was = &self.before[std::str::from_utf8(&key.path)?];
            ensure!(
                (was.0.0, was.1.len()) == (key.revision.0, key.bytes),
                "{key:?}"
            );
        }
        ensure!(merge.left.is_empty(), "nobody else was there: {merge:?}");
        Ok(())
    }
}

/// What the cases came to.
#[derive(Debug, Default)]
struct Counts {
    merged: u32,
    clashes: u32,
    interrupted_before_the_end: u32,
    keys: usize,
}

async fn case(random: &mut fastrand::Rng, scratch: &Path, counts: &mut Counts) -> Result<()> {
    let changes = random.usize(1..250);
    let history = History::random(random, changes, 2);
    history.write(scratch, history.newest())?;
    let source = Source::open(scratch, true)?;
    let at = match random.u8(..3) {
        0 => history.newest(),
        _ => history.0[random.usize(..changes)].0,
    };
    let state = history.state(at);
    let node = Node::start().await?;
    if random.bool() {
        // The living cluster itself, of which an older state is wanted; or one that is no relation.
        let is_ours = at < history.newest() && random.bool();
        let name = if is_ours { OLD } else { "another-cluster" };
        node.client
            .set(keys::IDENTITY, Revision::MISSING, name)
            .await?;
    }
    fill(random, &node.client, &state).await?;
    for _ in 0..random.usize(..2) * random.usize(..500) {
        // It may be older or newer than the old one was.
        node.client.nop().await?;
    }
    let before = tree(&node.client).await?;
    ensure!(!before.is_empty(), "a merge is into a cluster with keys");
    let start = node.client.rev().await?.0;
    let model = Model {
        before: &before,
        state: &state,
        newest: history.newest(),
        deletes: random.u8(..3) == 0,
    };
    let options = RestoreOptions {
        at: At::Revision(cairn_journal::Revision(at)),
        merge: true,
        deletes: model.deletes,
        in_flight: [None, Some(1), Some(64)][random.usize(..3)],
        ..RestoreOptions::default()
    };
    let is_foreign = |path: &&String| !state.contains_key(*path);
    let mut foreign = before.keys().filter(is_foreign);
    if !model.deletes && foreign.any(|path| state.keys().any(|key| exclude(path, key))) {
        match merge(&node, &source, &options).await {
            Err(Error::Clashes { .. }) => {}
            other => bail!("a file would be a directory: {other:?}"),
        }
        ensure!(tree(&node.client).await? == before && node.client.rev().await?.0 == start);
        counts.clashes += 1;
        return Ok(());
    }
    let differ = |(path, file): &(&String, &(Revision, Bytes))| {
        before.get(*path).is_none_or(|there| there.1 != file.1)
    };
    let sets = i64::try_from(state.iter().filter(differ).count())?;
    let foreign = before.keys().filter(is_foreign).count();
    let deletes = if model.deletes {
        i64::try_from(foreign)?
    } else {
        0
    };
    let writes = sets + deletes;
    let end = start.max(history.newest()) + writes;
    let is_interrupted = random.bool() && end > start;
    if is_interrupted {
        // Where keys are written, more often than in the NOPs before.
        let from = if random.bool() { start } else { end - writes };
        for _ in 0..random.usize(1..3) {
            merge_a_part(
                &node,
                &source,
                &options,
                random.i64(from..=end).max(start + 1),
            )
            .await?;
            let found = tree(&node.client).await?;
            model.check(&found, false)?;
            counts.interrupted_before_the_end += u32::from(model.check(&found, true).is_err());
        }
    }
    for round in 0..2 {
        let Restored::Merged(report, summary) = merge(&node, &source, &options).await? else {
            bail!("it has keys, and a merge was asked for");
        };
        model.check(&tree(&node.client).await?, true)?;
        if !is_interrupted && round == 0 {
            model.check_report(&report)?;
            ensure!(i64::try_from(summary.written)? == sets);
            ensure!(
                node.client.rev().await?.0 == end,
                "nothing was written twice"
            );
        }
        ensure!(round == 0 || summary.written == 0, "nothing is left to do");
    }
    counts.merged += 1;
    counts.keys += state.len();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_what_the_model_says() -> Result<()> {
    let mut random = seeded("merges")?;
    let cases = setting("CAIRN_MERGES", 60)?;
    let scratch = tempfile::tempdir()?;
    let mut counts = Counts::default();
    for n in 0..cases {
        let directory = scratch.path().join(n.to_string());
        let done = case(&mut random, &directory, &mut counts);
        done.await.with_context(|| format!("case {n}"))?;
        std::fs::remove_dir_all(&directory)?;
    }
    println!("{cases} cases: {counts:?}");
    ensure!(cases < 60 || counts.clashes > 0 && counts.interrupted_before_the_end > 0);
    Ok(())
}

/// What a stranger did after somebody had looked stays as it is, and is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_since_it_was_looked_at_is_left_alone() -> Result<()> {
    let mut random = seeded("seen")?;
    let scratch = tempfile::tempdir()?;
    let history = History::random(&mut random, 120, 2);
    history.write(scratch.path(), history.newest())?;
    let source = Source::open(scratch.path(), true)?;
    let state = history.state(history.newest());
    let mut paths = state.keys();
    let [overwritten, gone, untouched] = [(); 3].map(|()| paths.next().cloned());
    let (Some(overwritten), Some(gone), Some(untouched)) = (overwritten, gone, untouched) else {
        bail!("a state of three keys");
    };
    let node = Node::start().await?;
    let set =
        async |path: &str, value: &'static str| node.client.set(path, Revision::ANY, value).await;
    for path in [&overwritten, &gone, &untouched] {
        set(path, "another value").await?;
    }
    for path in ["/mine/stays", "/mine/goes"] {
        set(path, "v").await?;
    }
    let seen = node.client.rev().await?;
    // A stranger.
    set(&overwritten, "news").await?;
    node.client.del(&gone, Revision::ANY).await?;
    set("/mine/stays", "news").await?;
    set("/mine/new", "news").await?;

    let options = RestoreOptions {
        merge: true,
        deletes: true,
        seen: Some(cairn_journal::Revision(seen.0)),
        ..RestoreOptions::default()
    };
    let Restored::Merged(merge, _) = merge(&node, &source, &options).await? else {
        bail!("a merge was asked for");
    };
    let mut left = merge.left.clone();
    left.sort();
    let mut strangers = vec![
        "/mine/new".into(),
        "/mine/stays".into(),
        overwritten.clone(),
        gone.clone(),
    ];
    strangers.sort();
    ensure!(left == strangers, "{left:?}");
    let found = tree(&node.client).await?;
    let value = |path: &str| found.get(path).map(|file| &file.1[..]);
    for path in ["/mine/new", "/mine/stays", &overwritten] {
        ensure!(value(path) == Some(b"news"), "{path}");
    }
    ensure!(value(&gone).is_none() && value("/mine/goes").is_none());
    ensure!(value(&untouched) == state.get(&untouched).map(|file| &file.1[..]));
    ensure!(found.len() == state.len() + 1, "all others are there");
    Ok(())
}
