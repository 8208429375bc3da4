//! A disk that hangs under the embedded node: reads and heartbeats go on, nothing is claimed, and
//! afterwards all goes on.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision, Uri};
use cairn_journal::storage::{Access, Disk, File, Lock, Storage};
use cairn_journal::{Directory, Options, Timestamp};
use cairn_lite::Server;
use cairn_protocol::{keys, progress};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::attach::{Found, Restore, attach};
use crate::cluster::conformance::rig::PATIENCE;
use crate::cluster::in_process::InProcess;
use crate::identity::holder::Holder;
use crate::mirror::MirrorMode;
use crate::observe::vitals::Vitals;
use crate::pipeline;
use crate::pipeline::follow::Ended;

/// Lets syncs through, or holds them as long as it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().expect("nobody panics with it") = shut;
        self.changed.notify_all();
    }

    #[must_use]
    fn shut(self: &Arc<Self>) -> Shut {
        self.set(true);
        Shut(Arc::clone(self))
    }

    fn pass(&self) {
        let shut = self.shut.lock().expect("nobody panics with it");
        let passed = self.changed.wait_while(shut, |shut| *shut);
        drop(passed.expect("nobody panics with it"));
    }
}

/// A gate that is shut until this is dropped, so that a test that fails meanwhile does not wait for
/// ever for the threads that stand before it.
struct Shut(Arc<Gate>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The disk, with a gate before each sync.
#[derive(Debug)]
struct Hanging(Disk, Arc<Gate>);

#[derive(Debug)]
struct HangingFile(Box<dyn File>, Arc<Gate>);

impl File for HangingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn len_under(&self, path: &Path) -> io::Result<Option<u64>> {
        self.0.len_under(path)
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(from, offset)
    }
    fn write_around(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_around(from, offset)
    }
    fn write_through(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.1.pass();
        self.0.write_through(from, offset)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_all()
    }
}

impl Storage for Hanging {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = self.0.open(path, access)?;
        Ok(Box::new(HangingFile(file, Arc::clone(&self.1))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.1.pass();
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.0.lock(path)
    }
    fn random(&self) -> u128 {
        self.0.random()
    }
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// What the watermark of persister 1 says.
async fn watermark(client: &Client) -> Result<i64> {
    let file = client.get(&keys::watermark(1), None).await?;
    let file = file.context("it publishes a watermark")?;
    Ok(progress::parse_revision(&file.value)?)
}

async fn durable(client: &Client, revision: Revision) -> Result<()> {
    let waiting = async {
        while watermark(client).await? < revision.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("it never became durable")?
}

/// How many heartbeats the disk hangs for, each of five seconds. `CAIRN_TEST_HEARTBEATS`.
fn heartbeats() -> usize {
    std::env::var("CAIRN_TEST_HEARTBEATS").map_or(1, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_disk_stops_nothing_but_durability() -> Result<()> {
    let (dir, gate) = (tempfile::tempdir()?, Arc::new(Gate::default()));
    let storage = Arc::new(Hanging(Disk, Arc::clone(&gate)));
    let (journal, _) = Directory::on(storage, dir.path()).open(Options::default())?;
    let journal = Arc::new(journal);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let node = Server::new(cairn_lite::Options::default())?;
    node.begin(&address);
    let serving = tokio::spawn(node.clone().run_also(listener, std::future::pending()));
    let cancel = CancellationToken::new();
    let cluster = InProcess::new(node, 1);
    let found = attach(
        &cluster,
        &journal,
        Some(1),
        None,
        false,
        Restore::Never,
        &cancel,
    )
    .await?;
    let attached = found.and_then(Found::attached);
    let attached = attached.context("nobody cancelled, and nobody restores")?;
    let running = tokio::spawn({
        let (journal, cancel) = (Arc::clone(&journal), cancel.clone());
        let me = Holder::new(journal.uuid(), journal.dir());
        let vitals = Arc::new(Vitals::new(1, dir.path().to_owned(), Duration::ZERO));
        async move {
            let mode = Some(MirrorMode::Watermark);
            pipeline::run(attached, &journal, 1, &me, mode, &vitals, &cancel).await
        }
    });

    let uri = Uri::from_address(&address)?;
    let client = Client::connect(&uri).await?;
    let before = client.set("/a", Revision::ANY, "1").await?;
    durable(&client, before).await?;
    let shut = gate.shut();
    let hanging = client.set("/a", Revision::ANY, "2").await?;
    let owner = async || {
        let file = client.get(&keys::owner(1), None).await?;
        anyhow::Ok(file.context("somebody holds the id")?.revision)
    };
    for _ in 0..heartbeats() {
        let last = owner().await?;
        let beating = async {
            while owner().await? == last {
                // Others come and read meanwhile, and write what nobody calls durable.
                let other = Client::connect(&uri).await?;
                let read = other.get("/a", None).await?.context("it is there")?;
                ensure!(read.value == "2", "{read:?}");
                other.set("/b", Revision::ANY, "3").await?;
                ensure!(watermark(&other).await? < hanging.0, "nothing was synced");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        let beaten = tokio::time::timeout(PATIENCE * 2, beating).await;
        beaten.context("no heartbeat while the disk hangs")??;
    }
    ensure!(watermark(&client).await? < hanging.0, "nothing was synced");
    drop(shut);
    durable(&client, hanging).await?;
    let after = client.set("/c", Revision::ANY, "4").await?;
    durable(&client, after).await?;
    cancel.cancel();
    let ended = running.await?;
    ensure!(matches!(ended, Ok(Ended::Cancelled)), "{ended:?}");
    serving.abort();
    Ok(())
}
