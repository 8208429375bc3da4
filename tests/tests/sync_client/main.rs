//! The sync client with real persisters, whose processes are killed: what it returns is true.

mod deletes;
mod failover;
mod halted;
mod history;
mod kills;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use cairn_client::Uri;
use cairn_sync_client::{Client, Durability};
use cairn_tests::{Lite, Process, attached, persister};
use tempfile::TempDir;

/// A cluster with persisters 1 to n, each with a journal of its own.
struct Persisted {
    lite: Lite,
    persisters: Vec<Process>,
    journals: TempDir,
}

impl Persisted {
    async fn start(persisters: u32) -> Result<Self> {
        let lite = Lite::start()?;
        let mut this = Self {
            lite,
            persisters: Vec::new(),
            journals: tempfile::tempdir()?,
        };
        for id in 1..=persisters {
            let process = this.persister(id)?;
            this.persisters.push(process);
        }
        let client = this.lite.client().await?;
        for id in 1..=persisters {
            attached(&client, id).await?;
        }
        Ok(this)
    }

    fn uri(&self) -> &Uri {
        &self.lite.uri
    }

    fn journal(&self, id: u32) -> PathBuf {
        self.journals.path().join(id.to_string())
    }

    /// Starts persister `id`.
    fn persister(&self, id: u32) -> Result<Process> {
        // What is waited for is the watermark; without the mirror there is less to wait for.
        let args = ["--mirror", "watermark"];
        persister(id, &self.lite.uri, &self.journal(id), &args)
    }

    fn process(&mut self, id: u32) -> &mut Process {
        &mut self.persisters[id as usize - 1]
    }

    /// A sync client that requires `required` of all persisters.
    async fn client(&self, required: usize, timeout: Duration) -> Result<Client> {
        let ids: Vec<u32> = (1..).take(self.persisters.len()).collect();
        let durability = Durability {
            timeout,
            ..Durability::new(ids, required)
        };
        Ok(Client::connect_durable(self.uri(), durability).await?)
    }
}
