//! `doozer-lite`: the embedded server as a program of its own.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use bytesize::ByteSize;
use cairn_lite::{Options, Server, raise_limit};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serves the doozer protocol from memory, as a cluster of one node
///
/// Answers like a real cluster of one node, for tests and development. Keeps nothing when it ends;
/// a persister beside it keeps what it holds. When it accepts connections it prints one line,
/// `listening on HOST:PORT`, to standard output. Its log goes to standard error.
#[derive(Parser)]
#[command(name = "doozer-lite", version, after_long_help = LONG_HELP)]
struct Args {
    /// Listen on this address; port 0 takes a free one
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8046",
        value_parser = host_port
    )]
    listen: String,

    /// Keep this many revisions. A client that asks for an older one is told that it is too late
    #[arg(long, value_name = "REVISIONS", default_value_t = Options::default().history,
          value_parser = clap::value_parser!(u64).range(1..))]
    hist: u64,

    /// Keep no more than this of paths and values in the history (KiB, MiB, GiB): with large values
    /// fewer revisions are kept
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Options::default().history_bytes))]
    hist_bytes: ByteSize,

    /// Begin at this revision (60 or above), as if all before it had been discarded. A restore then
    /// fills no revisions before it
    #[arg(long, value_name = "REVISION")]
    start_revision: Option<i64>,

    /// Require this secret for reading and writing. Prefer the variable: command lines are public
    #[arg(
        long,
        value_name = "SECRET",
        env = "DOOZER_RWSECRET",
        hide_env_values = true
    )]
    rwsecret: Option<String>,

    /// Require this secret for reading only; needs --rwsecret too. Without it everyone may read
    #[arg(
        long,
        value_name = "SECRET",
        env = "DOOZER_ROSECRET",
        hide_env_values = true
    )]
    rosecret: Option<String>,

    /// Serve this many connections at a time; one more is told so and closed. Fewer where the limit
    /// of open files (ulimit -Hn) leaves no room for them
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_connections)]
    max_connections: usize,
}

const LONG_HELP: &str = "\
Examples:
  doozer-lite                         serve on 127.0.0.1:8046
  doozer-lite -l 127.0.0.1:0          on a free port; standard output says which
  doozer-lite --hist 2000             forget as early as a real node does by default
  DOOZER_RWSECRET=s3cret doozer-lite  ask clients for a secret (URI: doozer:?ca=...&sk=s3cret)

  doozer -a 127.0.0.1:8046 find '/**'                      list what it holds
  persister -a 'doozer:?ca=127.0.0.1:8046' --id 1 -j DIR   keep what it holds

Environment:
  DOOZER_RWSECRET  as --rwsecret
  DOOZER_ROSECRET  as --rosecret
  RUST_LOG         what is logged [default: info]; debug adds every connection

Exit codes:
  0  ended by SIGTERM, SIGINT or SIGHUP
  1  could not listen, or cannot serve any more: the message says why
  2  wrong command line";

fn main() -> ExitCode {
    let args = Args::parse();
    let listen = args.listen.clone();
    let server = Server::new(options(args)).unwrap_or_else(|error| {
        let usage = ErrorKind::ValueValidation;
        Args::command().error(usage, error).exit()
    });
    // A variable that is set to nothing counts as not set.
    let filter = match std::env::var_os(EnvFilter::DEFAULT_ENV) {
        Some(empty) if empty.is_empty() => EnvFilter::try_new("info"),
        _ => EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info")),
    };
    // A log that cannot be written must not end a node that clients rely on.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_env_filter(filter.unwrap_or_default())
        .init();
    raise_limit();
    match serve(server, &listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done about a closed standard error.
            let _ = writeln!(io::stderr().lock(), "doozer-lite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn host_port(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err("not HOST:PORT, as 127.0.0.1:8046 is"),
    }
}

fn options(args: Args) -> Options {
    Options {
        history: args.hist,
        history_bytes: args.hist_bytes.as_u64(),
        start_revision: args.start_revision,
        secret_rw: args.rwsecret,
        secret_ro: args.rosecret,
        max_connections: args.max_connections,
        ..Options::default()
    }
}

#[tokio::main]
async fn serve(server: Server, listen: &str) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| cannot_listen(listen))?;
    let address = listener.local_addr()?;
    // A node that cannot say where it listens still serves those that know.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "listening on {address}").and_then(|()| out.flush());
    drop(out);
    server
        .run(listener, async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        })
        .await
}

fn cannot_listen(address: &str) -> String {
    format!(
        "cannot listen on {address} (if another server runs there, stop it, or choose another \
         port with -l HOST:PORT; port 0 takes a free one)"
    )
}
