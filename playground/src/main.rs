//! The program `cairn`: arguments, signals, exit status.

use std::ffi::OsString;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cairn_playground::args::{self, Command, CommandLine, Drill};
use cairn_playground::drill::Named;
use cairn_playground::play::run::Playground;
use cairn_playground::play::setup;
use cairn_playground::programs::Programs;
use cairn_playground::watched::Watched;
use cairn_playground::web::link::Link;
use cairn_playground::world::guard;
use cairn_playground::{drill, hidden, output, probe, web, writers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

/// The exit status of a drill that failed, and of a probe that saw errors.
const FAILED: u8 = 1;

/// The exit status of what could not be run.
const CANNOT: u8 = 2;

/// As shells report a process that an interrupt has ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().and_then(|first| first.into_string().ok());
    let done = match first.as_deref() {
        // First of all and without a runtime: every start of every child passes here.
        Some(guard::GUARD) => {
            output::note(format_args!("cairn: {}", guard::run(args)));
            return ExitCode::from(guard::CANNOT_START);
        }
        Some(hidden) if hidden.starts_with("__") => on_a_runtime(within(hidden, args.collect())),
        _ => on_a_runtime(run(CommandLine::read())),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::note(format_args!("cairn: {error:#}"));
            ExitCode::from(CANNOT)
        }
    }
}

/// A runtime takes threads and descriptors, of which there may be too few.
fn on_a_runtime(work: impl Future<Output = Result<u8>>) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("cannot begin")?.block_on(work)
}

/// What this program is when it has started itself.
async fn within(hidden: &str, args: Vec<OsString>) -> Result<u8> {
    log(0, LevelFilter::INFO);
    let text: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    match (hidden, &text[..]) {
        (writers::CLIENT, [uri, timeout]) => {
            hidden::client(uri, humantime::parse_duration(timeout)?).await?;
        }
        (hidden::NODE, ["-l", address]) => hidden::node(address).await?,
        (hidden::LIAR, [uri, id]) => hidden::liar(uri, id.parse()?).await?,
        (hidden::PERSISTER, _) => return hidden::persister(args).await,
        _ => bail!("there is no such subcommand: see --help"),
    }
    Ok(0)
}

async fn run(line: CommandLine) -> Result<u8> {
    log(line.verbose, LevelFilter::WARN);
    match line.command {
        Command::Playground(args) => playground(args).await,
        Command::Drill(Drill::List) => {
            for drill in Named::built_in()? {
                let shapes = drill.script.shapes.iter().map(ToString::to_string);
                let shapes = shapes.collect::<Vec<_>>().join(", ");
                output::print(format_args!(
                    "{:<17} {} [{shapes}]\n",
                    drill.name, drill.script.about
                ))?;
            }
            Ok(0)
        }
        Command::Drill(Drill::Show { name }) => {
            output::print(Named::find(&name)?.text)?;
            Ok(0)
        }
        Command::Drill(Drill::Run(run)) => {
            let (drill, programs) = (Named::find(&run.drill)?, Programs::own()?);
            let (json, page) = (run.json, run.page);
            let mut options = options(run);
            let watched = match page {
                Some(address) => Some(Page::of_a_drill(address, &drill.name, &mut options).await?),
                None => None,
            };
            let running = drill::run(&drill, &options, &programs);
            let Some(report) = interruptible(running).await? else {
                return Ok(INTERRUPTED);
            };
            if let Some(page) = &watched {
                let why = report.as_ref().err().map(|error| format!("{error:#}"));
                page.watched
                    .ends(report.as_ref().ok(), &why.unwrap_or_default());
            }
            let report = report?;
            if json {
                output::print(serde_json::to_string_pretty(&report)? + "\n")?;
            } else {
                output::print(&report)?;
            }
            if let Some(page) = watched {
                page.until_interrupted().await?;
            }
            Ok(if report.passed { 0 } else { FAILED })
        }
        Command::Probe(args) => probe(args).await,
    }
}

fn options(run: args::Run) -> drill::Options {
    drill::Options {
        shape: run.shape,
        nodes: run.nodes,
        etcd: run.etcd,
        rounds: run.rounds,
        writers: run.writers,
        keys: run.keys as usize,
        seed: run.seed.unwrap_or_else(|| fastrand::u64(..)),
        liar: run.liar,
        keep: run.keep,
        report: run.report,
        tell: !run.json,
        watcher: None,
    }
}

/// The page of a drill.
struct Page {
    watched: Watched,
    end: CancellationToken,
    /// It looks, and serves.
    tasks: JoinSet<()>,
}

impl Page {
    async fn of_a_drill(
        address: SocketAddr,
        drill: &str,
        options: &mut drill::Options,
    ) -> Result<Self> {
        let (port, listeners) = web::listen::listen(address).await?;
        let link = Link::new(address.ip(), port);
        let page = page_options(&link, port, Vec::new(), None);
        let watched = Watched::new(drill);
        options.watcher = Some(Arc::new(watched.clone()));
        let (shown, end) = (watched.shown().clone(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(watched.clone().watch());
        let ends = end.clone();
        tasks.spawn(async move { web::serve::serve(listeners, shown, None, &page, ends).await });
        // Standard output is the verdict's.
        output::note(format_args!("The drill can be watched at {link}"));
        Ok(Self {
            watched,
            end,
            tasks,
        })
    }

    /// The page stays: somebody reads it.
    async fn until_interrupted(mut self) -> Result<()> {
        output::note("The page stays until Ctrl-C.");
        ended()?.await;
        self.end.cancel();
        self.tasks.shutdown().await;
        Ok(())
    }
}

fn page_options(
    link: &Link,
    port: u16,
    allow_hosts: Vec<String>,
    assets: Option<PathBuf>,
) -> web::shared::Options {
    web::shared::Options {
        key: link.key().to_owned(),
        port,
        allow_hosts,
        assets,
    }
}

async fn playground(args: args::Playground) -> Result<u8> {
    let (port, listeners) = web::listen::listen(args.listen).await?;
    let options = setup::Options {
        engine: args.engine,
        nodes: args.nodes,
        persisters: args.persisters,
        keep: args.keep,
    };
    let playground = Playground::begin(&options, &Programs::own()?)?;
    let link = Link::new(args.listen.ip(), port);
    #[cfg(debug_assertions)]
    let assets = args.assets;
    #[cfg(not(debug_assertions))]
    let assets = None;
    let page = page_options(&link, port, args.allow_hosts, assets);
    let end = CancellationToken::new();
    let play = playground.play().clone();
    let interrupted = ended()?;
    let serving = tokio::spawn({
        let end = end.clone();
        let shown = play.shown().clone();
        async move { web::serve::serve(listeners, shown, Some(play), &page, end).await }
    });
    let says = "Ctrl-C ends it, and everything that it started.";
    // It plays on even if nobody reads this.
    let _ = writeln!(std::io::stdout(), "The playground is at {link}\n{says}");
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
    let is_desktop = desktop.iter().any(|name| std::env::var_os(name).is_some());
    let wanted = args.open || !args.no_open && is_desktop && std::io::stdout().is_terminal();
    if wanted && let Err(error) = link.open(playground.directory()) {
        output::note(format_args!("cairn: cannot open a browser: {error:#}"));
    }
    interrupted.await;
    end.cancel();
    let orderly = async {
        let _ = serving.await;
        playground.end().await;
    };
    // A second signal waits for nothing: what is left is killed as it is dropped.
    let _ = interruptible(orderly).await?;
    Ok(0)
}

async fn probe(args: args::Probe) -> Result<u8> {
    let stop = CancellationToken::new();
    let prefix = args
        .prefix
        .unwrap_or_else(|| format!("/probe-{:08x}", fastrand::u32(..)));
    let options = probe::Options {
        uri: args.uri,
        every: args.every,
        timeout: args.timeout,
        prefix,
        tell: true,
    };
    let probing = tokio::spawn({
        let (options, stop) = (options.clone(), stop.clone());
        async move { probe::probe(&options, stop).await }
    });
    let mut end = ended()?;
    let ended = async {
        tokio::select! {
            () = &mut end => {}
            () = tokio::time::sleep(args.r#for.unwrap_or(FOR_EVER)) => {}
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let seen = tokio::select! {
        seen = probing => seen??,
        () = ended => bail!("the probe goes on for ever"),
    };
    if args.json {
        output::print(serde_json::to_string_pretty(&seen)? + "\n")?;
    } else {
        output::print(&seen)?;
    }
    Ok(if seen.is_well() { 0 } else { FAILED })
}

/// Longer than anybody waits, and one that a clock can show.
const FOR_EVER: std::time::Duration = std::time::Duration::from_secs(60 * 60 * 24 * 365);

/// `None`: a signal came first. The work is dropped then, and with it every process of its world.
async fn interruptible<T>(work: impl Future<Output = T>) -> Result<Option<T>> {
    let end = ended()?;
    tokio::select! {
        done = work => Ok(Some(done)),
        () = end => Ok(None),
    }
}

/// SIGINT, SIGTERM or SIGHUP.
fn ended() -> Result<std::pin::Pin<Box<dyn Future<Output = ()>>>> {
    let to = |kind| signal(kind).context("cannot listen to signals");
    let mut interrupt = to(SignalKind::interrupt())?;
    let mut terminate = to(SignalKind::terminate())?;
    let mut hangup = to(SignalKind::hangup())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }))
}

fn log(verbose: u8, least: LevelFilter) {
    let level = match verbose {
        0 => least,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
}
