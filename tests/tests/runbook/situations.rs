//! The situations: each is made, then the page is followed, then its promises are looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, Revision, Uri};
use cairn_etcd_member::{Member, free_port};
use cairn_sync_client::Durability;
use cairn_tests::{Lite, Tree, attached, journaled, tree};
use futures::TryStreamExt as _;

use crate::shell::Terminal;

/// A terminal on a machine that was set up as the page says, and its cluster of one node.
struct Machine {
    terminal: Terminal,
    lite: Lite,
    client: Client,
}

impl Machine {
    async fn set_up() -> Result<Self> {
        let mut terminal = Terminal::open()?;
        let lite = Lite::start_at(&terminal.cluster())?;
        let client = lite.client().await?;
        terminal.play("Setting up", 1)?;
        attached(&client, 1).await?;
        Ok(Self {
            terminal,
            lite,
            client,
        })
    }

    /// Writes `/app/0` and so on, each durable on these persisters.
    async fn write(&self, keys: std::ops::Range<u32>, value: &str, ids: &[u32]) -> Result<()> {
        let durability = Durability::new(ids, ids.len());
        let uri = &self.lite.uri;
        let client = cairn_sync_client::Client::connect_durable(uri, durability).await?;
        for key in keys {
            let path = format!("/app/{key}");
            client.set(&path, Revision::ANY, value.to_owned()).await?;
        }
        Ok(())
    }

    /// All nodes are lost. What the cluster had.
    async fn lose_all(&mut self) -> Result<Tree> {
        let had = tree(&self.client).await?;
        self.lite.process.kill()?;
        Ok(had)
    }

    /// "Start fresh, empty nodes."
    async fn start_fresh(&mut self) -> Result<()> {
        self.lite = Lite::start_at(&self.terminal.cluster())?;
        self.client = self.lite.client().await?;
        Ok(())
    }

    fn logs(&self) -> String {
        [1, 2, 3].map(|id| self.terminal.log(id)).join("\n---\n")
    }
}

/// All nodes die while two persisters run, one of them held up; a third was stopped before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_lost_while_persisters_run() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    machine.terminal.run("systemctl start cairn-persister@2")?;
    machine.write(0..20, "both", &[1, 2]).await?;
    machine.terminal.run("systemctl stop cairn-persister@1")?;
    machine.write(10..30, "the second alone", &[2]).await?;
    let had = machine.lose_all().await?;
    machine.start_fresh().await?;
    // The first one is started as the page says, and has less.
    machine
        .terminal
        .play("The bad day: restoring", 1)
        .with_context(|| machine.logs())?;
    ensure!(tree(&machine.client).await? == had, "{}", machine.logs());
    machine.write(0..5, "goes on", &[1, 2]).await?;
    Ok(())
}

/// No persister may run: an operator restores by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_restores_by_hand() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    machine.write(0..30, "x", &[1]).await?;
    let had = machine.lose_all().await?;
    machine.terminal.run("systemctl stop cairn-persister@1")?;
    machine.start_fresh().await?;
    machine.terminal.play("The bad day: restoring", 2)?;
    machine.terminal.play("The bad day: restoring", 3)?;
    ensure!(tree(&machine.client).await? == had);
    Ok(())
}

/// What there is below `/app`.
async fn app(client: &Client, at: Option<Revision>) -> Result<Vec<(String, Revision, Bytes)>> {
    let files = client.walk("/app/**", at);
    let files = files.map_ok(|file| (file.path, file.revision, file.value));
    Ok(files.try_collect().await?)
}

/// The revision of the page's older state.
const OLDER: Revision = Revision(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_is_restored_and_the_persister_told_that_this_is_wanted() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    while machine.client.rev().await? < OLDER {
        machine.write(0..5, "older", &[1]).await?;
    }
    let older = app(&machine.client, Some(OLDER)).await?;
    machine.write(0..30, "newer", &[1]).await?;
    machine.lose_all().await?;
    machine.terminal.play("An older state", 1)?;
    machine.start_fresh().await?;
    machine.terminal.play("An older state", 2)?;
    let now = app(&machine.client, None).await?;
    ensure!(now == older, "{now:?}");
    // As long as nobody has said that this is wanted, the persister does not go on.
    let start = "! systemctl start cairn-persister@1";
    machine.terminal.run(start)?;
    ensure!(
        machine
            .logs()
            .contains("Nothing was changed. If that is what you want")
    );
    machine
        .terminal
        .play("The commands on this page", 1)
        .with_context(|| machine.logs())?;
    machine.write(0..5, "goes on", &[1]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_keys_are_merged_back() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    machine.write(0..20, "x", &[1]).await?;
    let now = machine.terminal.run("date -u +%Y-%m-%dT%H:%M:%S.%NZ")?;
    let had = tree(&machine.client).await?;
    for key in 5..20 {
        machine
            .client
            .del(&format!("/app/{key}"), Revision::ANY)
            .await?;
    }
    machine.write(0..1, "changed", &[1]).await?;
    machine.client.set("/other", Revision::ANY, "stays").await?;
    // The mistake of the page was made ten minutes ago, this one just now.
    machine
        .terminal
        .map("11 minutes ago", now.trim().to_owned());
    machine.terminal.play("Undoing a mistake", 1)?;
    let mut expected = values(had);
    expected.insert("/other".to_owned(), "stays".into());
    ensure!(values(tree(&machine.client).await?) == expected);
    machine.write(0..1, "goes on", &[1]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_is_given_back_to_a_cluster_that_lives() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    machine.write(0..20, "older", &[1]).await?;
    let now = machine.terminal.run("date -u +%Y-%m-%dT%H:%M:%S.%NZ")?;
    let had = tree(&machine.client).await?;
    machine.write(10..30, "newer", &[1]).await?;
    machine
        .terminal
        .map("11 minutes ago", now.trim().to_owned());
    // Nobody but the persister writes from here on, and its own keys are not looked at.
    let seen = machine.client.rev().await?;
    machine.terminal.map("4711", seen.to_string());
    machine
        .terminal
        .play("Giving an older state back", 1)
        .with_context(|| machine.logs())?;
    ensure!(values(tree(&machine.client).await?) == values(had));
    machine.write(0..1, "goes on", &[1]).await
}

fn values(tree: Tree) -> BTreeMap<String, Bytes> {
    let values = tree.into_iter().map(|(path, (_, value))| (path, value));
    values.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_rehearsed_while_the_cluster_lives() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    machine.write(0..20, "x", &[1]).await?;
    machine.terminal.play("Rehearsing", 1)?;
    let uri = Uri::from_address(&machine.terminal.rehearsal())?;
    let rehearsal = Client::connect(&uri).await?;
    ensure!(tree(&rehearsal).await? == tree(&machine.client).await?);
    machine.write(0..5, "goes on", &[1]).await
}

/// Damages the first record of `path` in a journal.
fn damage(journal: &Path, path: &str) -> Result<()> {
    for entry in fs::read_dir(journal)? {
        let file = entry?.path();
        if file.extension().is_none_or(|ending| ending != "seg") {
            continue;
        }
        let mut bytes = fs::read(&file)?;
        let mut places = bytes.windows(path.len());
        if let Some(at) = places.position(|window| window == path.as_bytes()) {
            bytes[at] ^= 1;
            return Ok(fs::write(&file, bytes)?);
        }
    }
    bail!("{path} is not in {}", journal.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_repaired_from_the_cluster_and_from_others() -> Result<()> {
    let mut machine = Machine::set_up().await?;
    for id in [2, 3] {
        machine
            .terminal
            .run(&format!("systemctl start cairn-persister@{id}"))?;
    }
    machine.write(0..20, "x", &[1, 2, 3]).await?;
    let journal = machine.terminal.path("/var/lib/cairn/1");
    for block in [1, 2] {
        machine.terminal.run("systemctl stop cairn-persister@1")?;
        damage(&journal, "/app/7")?;
        machine
            .terminal
            .run("! systemctl start cairn-persister@1")?;
        if block == 2 {
            // The others' journals are copied here while they run.
            machine
                .terminal
                .run("cp -r /var/lib/cairn/2 /var/lib/cairn/3 /mnt/")?;
        }
        machine
            .terminal
            .play("A damaged journal", block)
            .with_context(|| machine.logs())?;
        machine.write(0..5, "goes on", &[1, 2, 3]).await?;
        ensure!(journaled(&journal)? == tree(&machine.client).await?);
    }
    let log = machine.terminal.log(1);
    ensure!(log.contains("given back: "), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_of_etcd_are_lost_and_made_anew() -> Result<()> {
    let mut terminal = Terminal::open()?;
    let mut member = Member::start(&["--unsafe-no-fsync"])?;
    terminal.map("10.0.0.1:2379", format!("127.0.0.1:{}", member.port()));
    terminal.run("export DOOZER_URI=etcd://10.0.0.1:2379")?;
    terminal.play("Setting up", 1)?;
    for key in 0..10 {
        terminal.run(&format!("etcdctl --endpoints 10.0.0.1:2379 put key{key} x"))?;
    }
    // An end in good order: what the cluster had answered by then is journaled.
    terminal.run("systemctl stop cairn-persister@1")?;
    member.kill();

    let heading = "All members of etcd are lost";
    for machine in 1..=3 {
        let peer = format!("127.0.0.1:{}", free_port()?);
        terminal.map(&format!("10.0.0.{machine}:2380"), peer);
    }
    terminal.play(heading, 1)?;
    let report = terminal.play(heading, 2)?;
    let hash = report
        .lines()
        .find_map(|line| line.strip_prefix("HashKV: "));
    let hash = hash
        .and_then(|line| line.split(' ').next())
        .context("a hash")?;
    let start: Vec<&str> = report
        .lines()
        .filter(|line| line.contains("etcd --name m"))
        .collect();
    ensure!(start.len() == 3, "{report}");
    // Here all members share one machine, so that each has another port for its clients.
    let clients = [free_port()?, free_port()?, free_port()?];
    for (command, port) in start.into_iter().zip(clients) {
        terminal.map("127.0.0.1:2379", format!("127.0.0.1:{port}"));
        terminal.run(&format!("{} &", command.trim()))?;
    }
    for port in clients {
        terminal.map("127.0.0.1:2379", format!("127.0.0.1:{port}"));
        terminal.run("export ETCDCTL_ENDPOINTS=127.0.0.1:2379")?;
        terminal.run("until etcdctl endpoint health; do sleep 0.1; done")?;
        let shown = terminal.play(heading, 3)?;
        ensure!(shown.trim().ends_with(hash), "{shown}\n{report}");
    }
    let values = terminal.run("etcdctl get --prefix key --keys-only --command-timeout 30s")?;
    ensure!(
        values.lines().filter(|line| !line.is_empty()).count() == 10,
        "{values}"
    );
    Ok(())
}
