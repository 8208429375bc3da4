//! The situations of `docs/etcd.md`, with real members, which use TLS where the page does.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cairn_etcd_member::{Certificates, Member, free_port};

use crate::shell::Terminal;

/// Members without fsync, found where the page has them.
fn members(terminal: &mut Terminal, count: usize) -> Result<Vec<Member>> {
    let members = Member::cluster(count, &["--unsafe-no-fsync"])?;
    find(terminal, &members);
    terminal.run("export ETCDCTL_ENDPOINTS=10.0.0.1:2379")?;
    Ok(members)
}

/// The page has three addresses; fewer members have several.
fn find(terminal: &mut Terminal, members: &[Member]) {
    for (number, member) in (1..=3).zip(members.iter().cycle()) {
        let here = format!("127.0.0.1:{}", member.port());
        terminal.map(&format!("10.0.0.{number}:2379"), here);
    }
}

/// The keys below `/app/`, with their values.
fn app(terminal: &mut Terminal) -> Result<String> {
    terminal.run("etcdctl get --prefix /app/")
}

fn put(terminal: &mut Terminal, keys: std::ops::Range<u32>) -> Result<()> {
    for key in keys {
        terminal.run(&format!("etcdctl put /app/{key} value-{key}"))?;
    }
    Ok(())
}

#[test]
fn a_persister_runs_beside_a_cluster_with_the_rights_of_the_page() -> Result<()> {
    let mut terminal = Terminal::open_on("etcd.md")?;
    let _members = members(&mut terminal, 3)?;
    for command in [
        "user add root:hush",
        "user grant-role root root",
        "user add cairn:secret",
    ] {
        terminal.run(&format!("etcdctl {command}"))?;
    }
    for command in terminal.commands::<4>("Rights", 1)? {
        terminal.enter(&command)?;
    }
    terminal.run("etcdctl auth enable && export ETCDCTL_USER=cairn:secret")?;

    let [anywhere, _tls, found, status] = terminal.commands("Beside a cluster", 1)?;
    for (key, start) in [anywhere, found].into_iter().enumerate() {
        terminal.serve(&start)?;
        terminal.run(&format!("ETCDCTL_USER=root:hush etcdctl put /app/{key} x"))?;
        let shown = terminal.enter(&status)?;
        ensure!(shown.contains("alive"), "{shown}");
        terminal.end()?;
        let journal = terminal.run("dumpjournal /var/lib/cairn/1")?;
        ensure!(journal.contains(&format!("/app/{key}")), "{journal}");
    }
    Ok(())
}

#[test]
fn a_lost_cluster_comes_back_from_a_file_and_by_writes() -> Result<()> {
    let mut terminal = Terminal::open_on("etcd.md")?;
    let mut lost = members(&mut terminal, 1)?;
    let [start, ..] = terminal.commands::<4>("Beside a cluster", 1)?;
    terminal.serve(&start)?;
    put(&mut terminal, 0..10)?;
    let had = app(&mut terminal)?;
    terminal.end()?;
    lost[0].kill();

    terminal.map("10.0.0.1:2380", format!("127.0.0.1:{}", free_port()?));
    for command in terminal.commands::<3>("Restore to a snapshot file", 1)? {
        let report = terminal.enter(&command)?;
        ensure!(report.contains("keys"), "{report}");
        let is_made = terminal.path("/here/lost.db").exists();
        ensure!(is_made != command.text.contains("--dry-run"), "{report}");
    }
    ensure!(terminal.path("/var/lib/etcd/m0/member").is_dir());

    let _fresh = members(&mut terminal, 1)?;
    let [look, restore, merge, go_on] = terminal.commands("Restore by writes", 1)?;
    terminal.enter(&look)?;
    ensure!(app(&mut terminal)?.is_empty(), "a look writes nothing");
    terminal.enter(&restore)?;
    ensure!(app(&mut terminal)? == had);
    let now = terminal.run("date -u +%Y-%m-%dT%H:%M:%S.%NZ")?;
    // The mistake of the page was made ten minutes ago, this one just now.
    terminal.map("11 minutes ago", now.trim().to_owned());
    terminal.run("etcdctl del --prefix /app/")?;
    terminal.enter(&merge)?;
    ensure!(app(&mut terminal)? == had);
    terminal.serve(&go_on)?;
    terminal.end()
}

#[test]
fn a_backup_becomes_a_journal() -> Result<()> {
    let mut terminal = Terminal::open_on("etcd.md")?;
    let _members = members(&mut terminal, 1)?;
    put(&mut terminal, 0..10)?;
    let [save, import, look, follow] = terminal.commands("A journal from a backup", 1)?;
    terminal.enter(&save)?;
    terminal.enter(&import)?;
    let backup = terminal.enter(&look)?;
    ensure!(backup == terminal.run("dumpjournal /var/lib/cairn/backup")?);
    terminal.serve(&follow)?;
    put(&mut terminal, 10..12)?;
    terminal.end()?;
    let journal = terminal.run("dumpjournal /var/lib/cairn/1")?;
    for key in 0..12 {
        ensure!(journal.contains(&format!("/app/{key}")), "{journal}");
    }
    Ok(())
}

#[test]
fn a_cluster_that_is_not_ours_is_observed_with_certificates() -> Result<()> {
    let mut terminal = Terminal::open_on("etcd.md")?;
    let certificates = Certificates::make()?;
    let member = Member::start_with_tls(&certificates)?;
    let there = terminal.path("/etc/kubernetes/pki/etcd");
    fs::create_dir_all(&there)?;
    for (name, file) in [
        ("ca", "ca.crt"),
        ("client", "healthcheck-client.crt"),
        ("client-key", "healthcheck-client.key"),
    ] {
        fs::copy(certificates.path(name), there.join(file))?;
    }
    for page in ["10.0.0.1:2379", "127.0.0.1:2379"] {
        terminal.map(page, format!("127.0.0.1:{}", member.port()));
    }
    terminal.map("127.0.0.1:9346", format!("127.0.0.1:{}", free_port()?));

    // What the block of Kubernetes says about certificates serves the others, too.
    let [beside_kubernetes] = terminal.commands("Beside Kubernetes", 1)?;
    let (variables, _) = beside_kubernetes
        .text
        .split_once("persister ")
        .context("it starts a persister")?;
    let exported = format!("export {}", variables.replace("\\\n", ""));
    let [observe] = terminal.commands("A cluster that is not ours", 1)?;
    let [wait] = terminal.commands("A cluster that is not ours", 2)?;
    let [_, ours, ..] = terminal.commands::<4>("Beside a cluster", 1)?;

    terminal.serve(&beside_kubernetes)?;
    let flags = certificates.of_a_client();
    member.etcdctl(
        &[
            &flags.each_ref().map(String::as_str)[..],
            &["put", "/app/1", "x"],
        ]
        .concat(),
    )?;
    // Its second revision: the first is that of an empty cluster.
    terminal.map("--revision R", "--revision 2".to_owned());
    terminal.enter(&wait)?;
    terminal.end()?;
    terminal.run(&exported)?;
    terminal.serve(&observe)?;
    terminal.enter(&wait)?;
    terminal.end()?;
    let journal = terminal.run("dumpjournal /var/lib/cairn/1")?;
    ensure!(journal.contains("/app/1"), "{journal}");
    let keys =
        terminal.run("etcdctl --endpoints https://10.0.0.1:2379 get --prefix '' --keys-only")?;
    ensure!(
        keys.trim() == "/app/1",
        "an observer writes nothing: {keys}"
    );

    // A journal that has observed has no name for its cluster.
    terminal.run("mv /var/lib/cairn/1 /var/lib/cairn/observed")?;
    terminal.serve(&ours)?;
    terminal.end()
}
