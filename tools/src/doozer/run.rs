//! Runs one `doozer` command: asks the cluster, prints the answer.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use cairn_client::{Client, Entry, Event, EventKind, Revision, path};
use clap::CommandFactory;
use futures::StreamExt;

use crate::doozer::args::{Args, Command};
use crate::doozer::bench;
use crate::doozer::failure::Failure;
use crate::doozer::output::Output;
use crate::doozer::session::Session;

/// Runs the command.
pub async fn run(args: &Args) -> ExitCode {
    match execute(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => failed(args, failure),
    }
}

/// Tells why it failed.
#[must_use]
pub fn failed(args: &Args, failure: Failure) -> ExitCode {
    failure.tell(args.json);
    ExitCode::from(failure.code())
}

/// How many connections the command works over.
#[must_use]
pub fn connections(args: &Args) -> u32 {
    match &args.command {
        Command::Bench(bench) => bench.clients,
        _ => 1,
    }
}

async fn execute(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Completions { shell } => print_completions(*shell),
        Command::Bench(bench) => bench::run(args, bench).await,
        // Reads the body before connecting: no connection waits for a person who types.
        Command::Add { .. } | Command::Set { .. } => ask(args, read_body()?).await,
        _ => ask(args, Vec::new()).await,
    }
}

fn print_completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "doozer", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// Sends the command to the cluster and prints the answer. `body` is for the commands that write
/// one.
async fn ask(args: &Args, body: Vec<u8>) -> Result<(), Failure> {
    let session = Session::connect(args).await?;
    let reader = session.reader();
    let durable = session.is_durable();
    let mut out = Output::new(io::stdout().lock(), args.json);
    match &args.command {
        Command::Add { path } => {
            let rev = session.set(path, Revision::MISSING, body).await?;
            out.revision(Some(path), rev, durable)?;
        }
        Command::Set { path, rev } => {
            let rev = session.set(path, *rev, body).await?;
            out.revision(Some(path), rev, durable)?;
        }
        Command::Touch { path } => {
            let rev = touch(&session, path).await?;
            out.revision(Some(path), rev, durable)?;
        }
        Command::Del { path, rev } => {
            session.del(path, *rev).await?;
            out.deleted(path, durable)?;
        }
        Command::Get { path, rev } => {
            come(reader, path, *rev, args.timeout).await?;
            match reader.get(path, *rev).await? {
                Some(file) => out.file(path, &file)?,
                None => {
                    path::validate(path).map_err(cairn_client::Error::from)?;
                    return Err(Failure::Missing(path.clone()));
                }
            }
        }
        Command::Find { glob, rev } => {
            come(reader, glob, *rev, args.timeout).await?;
            find(reader, glob, *rev, &mut out).await?;
        }
        Command::Stat { path, rev } => {
            come(reader, path, *rev, args.timeout).await?;
            out.stat(path, reader.stat(path, *rev).await?)?;
        }
        Command::Rev => out.revision(None, reader.rev().await?, false)?,
        Command::Watch { glob, rev } => watch(&session, glob, *rev, &mut out).await?,
        Command::Wait { glob, rev } => {
            out.event(&wait_within(&session, glob, *rev, args.timeout).await?)?;
        }
        Command::Nop => reader.nop().await?,
        Command::Self_ => out.node(&reader.self_name().await?)?,
        Command::Completions { .. } | Command::Bench(_) => {}
    }
    Ok(())
}

/// Waits until the revision that is read at has come, if there is a limit to that.
async fn come(
    reader: &Client,
    path: &str,
    rev: Option<Revision>,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let (Some(rev), Some(after)) = (rev, timeout) else {
        return Ok(());
    };
    match tokio::time::timeout(after, reader.stat("/", Some(rev))).await {
        // What is wrong with the revision or the cluster, the request itself is told.
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::NotYet {
            path: path.to_owned(),
            rev,
            after,
        }),
    }
}

/// A path without wildcards is printed with all that is below it, directories too; of a glob, the
/// files that match.
async fn find<W: Write>(
    reader: &Client,
    glob: &str,
    rev: Option<Revision>,
    out: &mut Output<W>,
) -> Result<(), Failure> {
    if glob.contains(['?', '*']) {
        let mut files = reader.walk(glob, rev);
        while let Some(file) = files.next().await {
            out.found(&file?)?;
        }
        return Ok(());
    }
    path::validate(glob).map_err(cairn_client::Error::from)?;
    let mut entries = reader.tree(glob, rev);
    while let Some(entry) = entries.next().await {
        match entry? {
            Entry::File(file) => out.found(&file)?,
            Entry::Directory(path) => out.directory(&path)?,
        }
    }
    Ok(())
}

/// Rewrites the file as it is, so that its watchers see a change. Fails if somebody else changes it
/// in between, which its watchers see as well.
async fn touch(session: &Session, path: &str) -> Result<Revision, Failure> {
    let (rev, body) = match session.reader().get(path, None).await? {
        Some(file) => (file.revision, file.value.to_vec()),
        None => (Revision::MISSING, Vec::new()),
    };
    Ok(session.set(path, rev, body).await?)
}

/// Where to begin. From here on the session stays with the cluster that it is connected to: its
/// revisions mean nothing in another.
async fn from_now(session: &Session, rev: Option<Revision>) -> Result<Revision, Failure> {
    cairn_sync_client::bind(session.reader()).await?;
    match rev {
        Some(rev) => Ok(rev),
        None => Ok(session.reader().rev().await?.next()),
    }
}

/// NOPs consume revisions and change nothing: neither `watch` nor `wait` takes them for a change.
fn is_change(event: &Event) -> bool {
    event.kind != EventKind::Nop
}

async fn watch<W: Write>(
    session: &Session,
    glob: &str,
    rev: Option<Revision>,
    out: &mut Output<W>,
) -> Result<(), Failure> {
    let from = from_now(session, rev).await?;
    let mut events = session.reader().watch(glob, from);
    while let Some(event) = events.next().await {
        let event = event?;
        if is_change(&event) {
            out.event(&event)?;
        }
    }
    Ok(())
}

async fn wait_within(
    session: &Session,
    glob: &str,
    rev: Option<Revision>,
    timeout: Option<Duration>,
) -> Result<Event, Failure> {
    let event = wait(session, glob, rev);
    let Some(after) = timeout else {
        return event.await;
    };
    let nothing = |_| Failure::Nothing {
        glob: glob.to_owned(),
        after,
    };
    tokio::time::timeout(after, event).await.map_err(nothing)?
}

async fn wait(session: &Session, glob: &str, rev: Option<Revision>) -> Result<Event, Failure> {
    let mut from = from_now(session, rev).await?;
    loop {
        let event = session.reader().wait(glob, from).await?;
        if is_change(&event) {
            return Ok(event);
        }
        from = event.revision.next();
    }
}

/// Reads at most one byte more than a frame holds: a body that long is refused by the client, which
/// says that it is too large.
fn read_body() -> Result<Vec<u8>, Failure> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        // A hint for people who wonder why nothing happens.
        let _ = writeln!(io::stderr(), "doozer: type the body, end it with Ctrl-D");
    }
    let mut body = Vec::new();
    let most = cairn_client::frame::MAX_FRAME as u64 + 1;
    stdin
        .take(most)
        .read_to_end(&mut body)
        .map_err(Failure::Input)?;
    Ok(body)
}
