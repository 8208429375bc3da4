//! Real processes for end-to-end tests: started, waited for, killed.
//!
//! Promises: a process never outlives the value that stands for it; every wait has a deadline and,
//! when it passes, the error carries the last lines that the process wrote; nothing waits by
//! sleeping for a while and hoping.

mod load;
mod process;
mod programs;
mod proxy;

pub use load::{Expectation, Ledger, files_below};
pub use process::{DEADLINE, Process};
pub use programs::program;
pub use proxy::Proxy;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, EventKind, Revision, Uri};
use cairn_journal::Entry;
use futures::TryStreamExt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A running `doozer-lite`.
pub struct Lite {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub uri: Uri,
}

impl Lite {
    /// Starts a fresh one on a free port.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a fresh one on a free port, with further arguments.
    pub fn start_with(args: &[&str]) -> Result<Self> {
        let all = [&["-l", "127.0.0.1:0"], args].concat();
        let mut process = Process::start("doozer-lite", all)?;
        let line = process.line_on_stdout()?;
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .with_context(|| format!("doozer-lite said {line:?}"))?;
        Ok(Self {
            uri: Uri::from_address(address)?,
            process,
        })
    }

    /// A plain client of it.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.uri).await?)
    }
}

/// Starts `persister --id ID -a URI -j JOURNAL` with further arguments.
pub fn persister(id: u32, uri: &Uri, journal: &Path, args: &[&str]) -> Result<Process> {
    let address = match &uri.addresses[..] {
        [address] => format!("doozer:?ca={address}"),
        other => bail!("a test cluster has one address, not {other:?}"),
    };
    let id = id.to_string();
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let fixed = ["--id", &id, "-a", &address, "-j", journal];
    Process::start("persister", [&fixed, args].concat())
}

/// What a persister that was started with `--listen` serves at `path`.
pub async fn served(process: &Process, path: &str) -> Result<String> {
    let address = eventually("metrics and health are served", || async {
        let log = process.log();
        let begin = log.split("metrics and health on http://").nth(1);
        Ok(begin.and_then(|begin| Some(begin.split_once('/')?.0.to_owned())))
    })
    .await?;
    let mut stream = tokio::net::TcpStream::connect(&address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    Ok(body.to_owned())
}

/// Waits until `condition` yields a value, looking again and again until the deadline.
pub async fn eventually<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if start.elapsed() > DEADLINE {
            bail!("{what}: not within {DEADLINE:?}");
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Waits until persister `id` has attached: until it says anything at all.
pub async fn attached(client: &Client, id: u32) -> Result<()> {
    let key = cairn_sync_client::keys::watermark(id);
    eventually(&format!("watermark of persister {id}"), || async {
        Ok(client.get(&key, None).await?.map(drop))
    })
    .await
}

/// Waits until persister `id` has everything up to `revision` on disk, as its watermark says.
pub async fn durable(client: &Client, id: u32, revision: Revision) -> Result<()> {
    let key = cairn_sync_client::keys::watermark(id);
    eventually(
        &format!("watermark of persister {id} at {revision}"),
        || async {
            let Some(file) = client.get(&key, None).await? else {
                return Ok(None);
            };
            let durable: i64 = std::str::from_utf8(&file.value)?.parse()?;
            Ok((durable >= revision.0).then_some(()))
        },
    )
    .await
}

/// Everything outside the control area, by path.
pub async fn tree(client: &Client) -> Result<Tree> {
    let files: Vec<_> = client.walk("/**", None).try_collect().await?;
    Ok(files
        .into_iter()
        .filter(|file| !cairn_sync_client::keys::is_internal(&file.path))
        .map(|file| (file.path, (file.revision, file.value)))
        .collect())
}

/// The newest state in a journal, by path. Read as anybody may: without its lock.
pub fn journaled(journal: &Path) -> Result<Tree> {
    let reader = cairn_journal::Reader::open(journal)?;
    let state = cairn_journal::state(&reader, None)?;
    let files = state.files.into_iter().map(|(path, (revision, value))| {
        let path = String::from_utf8(path.to_vec())?;
        Ok((path, (Revision(revision.0), value)))
    });
    files.collect()
}

/// Every record of a journal.
pub fn records(journal: &Path) -> Result<Vec<cairn_journal::Record>> {
    let reader = cairn_journal::Reader::open(journal)?;
    Ok(reader.records().collect::<Result<_, _>>()?)
}

/// Every change that the cluster made outside the control area, from its own history.
pub async fn history(client: &Client, to: Revision) -> Result<BTreeMap<i64, String>> {
    let mut changes = BTreeMap::new();
    let mut events = client.watch("/**", Revision(1));
    while let Some(event) = events.try_next().await? {
        if event.kind != EventKind::Nop && !cairn_sync_client::keys::is_internal(&event.path) {
            changes.insert(event.revision.0, event.path);
        }
        if event.revision >= to {
            break;
        }
    }
    Ok(changes)
}

/// The same from the journal; fails if a revision stands there twice.
pub fn journaled_once(journal: &Path) -> Result<BTreeMap<i64, String>> {
    let mut changes = BTreeMap::new();
    for record in records(journal)? {
        if let Entry::Changes { changes: some, .. } = record.entry {
            for change in some {
                let path = String::from_utf8(change.path.to_vec())?;
                let twice = changes.insert(record.revision.0, path);
                ensure!(twice.is_none(), "revision {} stands twice", record.revision);
            }
        }
    }
    Ok(changes)
}

/// Waits until the per-path mirror of persister `id` is the image of `live`: an entry for every key,
/// with its revision, and no other.
pub async fn mirrored(client: &Client, id: u32, live: &Tree) -> Result<()> {
    let expected: BTreeMap<_, _> = live
        .iter()
        .map(|(path, (revision, _))| (path.clone(), revision.0))
        .collect();
    let glob = format!("{}/**", cairn_sync_client::keys::directory(id));
    eventually("the mirror is the image of the state", || async {
        let entries: Vec<_> = client.walk(&glob, None).try_collect().await?;
        let found: BTreeMap<_, i64> = entries
            .iter()
            .filter_map(|entry| {
                let path = cairn_sync_client::keys::mirrored(id, &entry.path)?.to_owned();
                Some((path, std::str::from_utf8(&entry.value).ok()?.parse().ok()?))
            })
            .collect();
        Ok((found == expected).then_some(()))
    })
    .await
}

/// Live keys with their revisions and values.
pub type Tree = BTreeMap<String, (Revision, Bytes)>;
