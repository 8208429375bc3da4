//! A lock that is a lease: one leader at a time, and another one soon after it has died.
//!
//! The leader renews a file; whoever sees it not renewed for long enough takes it over, by
//! compare-and-set. Time is measured on one's own clock between two looks, so clocks need not
//! agree. The file is durable, so the total loss of the cluster and its restore do not bring forth
//! a second leader: the lease comes back at the revision it had.
//!
//! What is guarded must be guarded by the lease's revision too (a fencing token), since a leader
//! may be halted for longer than its lease without knowing it.
//!
//! ```sh
//! cargo run --example lease &
//! cargo run --example lease
//! ```

use std::time::Duration;

use cairn_sync_client::{Client, Error, File, Result, Revision, Uri};
use tokio::time::{Instant, sleep, timeout};

const PATH: &str = "/leader";
const RENEW: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let uri: Uri = match Uri::from_env() {
        Some(uri) => uri?,
        None => "doozer:?ca=127.0.0.1:8046".parse()?,
    };
    let client = Client::connect(&uri).await?;
    let id = std::process::id();
    let mut turn = 0;
    loop {
        turn += 1;
        // No other write has this content: that is what makes it possible to find out whether a
        // write was done whose answer was lost.
        let me = format!("{id} {turn}");
        let token = acquire(&client, &me).await?;
        println!("{id} leads, token {token}");
        lead(&client, &me, token).await;
        println!("{id} leads no more");
    }
}

/// Returns once the lease is ours and on disk, with its revision.
async fn acquire(client: &Client, me: &str) -> Result<Revision> {
    let mut known: Option<File> = client.get(PATH, None).await?;
    loop {
        if let Some(file) = &known {
            // As long as it changes within the lease, somebody leads.
            let from = file.revision.next();
            if let Ok(event) = timeout(LEASE, client.wait(PATH, from)).await {
                event?;
                known = client.get(PATH, None).await?;
                continue;
            }
        }
        let expected = known
            .as_ref()
            .map_or(Revision::MISSING, |file| file.revision);
        match write(client, me, expected).await {
            Ok(Some(token)) => return Ok(token),
            Ok(None) => known = client.get(PATH, None).await?,
            Err(error) => return Err(error),
        }
    }
}

/// Renews until that fails, or takes so long that somebody else may have taken over.
async fn lead(client: &Client, me: &str, mut token: Revision) {
    let mut renewed = Instant::now();
    while renewed.elapsed() < LEASE {
        sleep(RENEW).await;
        let started = Instant::now();
        match timeout(LEASE - RENEW, write(client, me, token)).await {
            Ok(Ok(Some(revision))) => (token, renewed) = (revision, started),
            Ok(Err(error)) if error.is_retryable() => println!("{error}"),
            _ => return,
        }
    }
}

/// Writes the lease; `None`: somebody else was faster.
async fn write(client: &Client, me: &str, expected: Revision) -> Result<Option<Revision>> {
    let since = client.rev().await?;
    match client.set(PATH, expected, me.to_owned()).await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if error.is_rev_mismatch() => Ok(None),
        // It is ours in the cluster, but not yet on disk: lead only once it is.
        Err(Error::Unconfirmed { revision, .. }) => {
            client.wait_durable(revision).await?;
            Ok(Some(revision))
        }
        Err(error) if error.may_have_happened() => {
            client.find_set(PATH, me.as_bytes(), since).await
        }
        Err(error) => Err(error),
    }
}
