//! A cluster of one node, and a persister beside it, as an operator would start them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cairn_client::{Client, Uri};
use cairn_playground::world::services::http_body;

use crate::process::Process;
use crate::waits::eventually;

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
        Self::launch(&[&["-l", "127.0.0.1:0"], args].concat())
    }

    /// Starts a fresh one at this address.
    pub fn start_at(address: &str) -> Result<Self> {
        Self::launch(&["-l", address])
    }

    fn launch(all: &[&str]) -> Result<Self> {
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

/// Where a persister that was started with `--listen` serves: `HOST:PORT`.
pub async fn served_at(process: &Process) -> Result<String> {
    eventually("metrics and health are served", || async {
        let log = process.log();
        let begin = log.split("metrics and health on http://").nth(1);
        Ok(begin.and_then(|begin| Some(begin.split_once('/')?.0.to_owned())))
    })
    .await
}

/// What a persister that was started with `--listen` serves at `path`.
pub async fn served(process: &Process, path: &str) -> Result<String> {
    let address = served_at(process).await?;
    let body = eventually("it is served", || async {
        Ok(http_body(&address, path).await)
    });
    body.await
}
