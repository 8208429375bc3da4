//! `doozer-lite`: the embedded server as a program of its own.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use cairn_lite::{Options, Server};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A single-node server of the doozer protocol, in memory.
///
/// For tests and development: it answers like a real cluster of one node, but keeps nothing when
/// it ends. Run a persister beside it to keep what it holds. When it accepts connections it
/// prints one line, `listening on HOST:PORT`, to standard output; the log goes to standard error.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        doozer-lite                        serve on 127.0.0.1:8046\n  \
        doozer-lite -l 127.0.0.1:0         on a free port; read which one from standard output\n  \
        doozer-lite --hist 2000            forget as early as a real node does by default\n  \
        DOOZER_RWSECRET=s3cret doozer-lite  ask clients for a secret (URI: doozer:?ca=...&sk=s3cret)\n\n\
        Look at it with the command-line client:\n  \
        doozer -a 'doozer:?ca=127.0.0.1:8046' find /\n\n\
        SIGTERM and SIGINT end it with status 0. RUST_LOG=debug logs every connection."
)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8046"
    )]
    listen: String,

    /// How many revisions can be asked for. A client that falls further behind is told that it
    /// is too late.
    #[arg(long, value_name = "REVISIONS", default_value_t = Options::default().history,
          value_parser = clap::value_parser!(u64).range(1..))]
    hist: u64,

    /// Secret of those who may read and write. Better given by the environment: command lines
    /// are public.
    #[arg(
        long,
        value_name = "SECRET",
        env = "DOOZER_RWSECRET",
        hide_env_values = true
    )]
    rwsecret: Option<String>,

    /// Secret of those who may only read; needs --rwsecret too. Without it everyone may read.
    #[arg(
        long,
        value_name = "SECRET",
        env = "DOOZER_ROSECRET",
        hide_env_values = true
    )]
    rosecret: Option<String>,

    /// Connections served at a time.
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().max_connections)]
    max_connections: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .init();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doozer-lite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(args: Args) -> anyhow::Result<()> {
    let options = Options {
        history: args.hist,
        secret_rw: args.rwsecret,
        secret_ro: args.rosecret,
        max_connections: args.max_connections,
        ..Options::default()
    };
    let server = Server::new(options)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| cannot_listen(&args.listen))?;
    println!("listening on {}", listener.local_addr()?);
    server
        .run(listener, async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
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
