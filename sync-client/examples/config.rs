//! A configuration store: every change is on disk before anybody is told that it was made, and
//! every program that watches sees every change.
//!
//! ```sh
//! cargo run --example config -- watch
//! cargo run --example config -- set db/url postgres://db1
//! ```

use cairn_sync_client::{Client, EventKind, Result, Revision, Uri};
use futures::StreamExt;

const ROOT: &str = "/config";

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let uri: Uri = match Uri::from_env() {
        Some(uri) => uri?,
        None => "doozer:?ca=127.0.0.1:8046".parse()?,
    };
    let client = Client::connect(&uri).await?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["set", name, value] => set(&client, name, value).await?,
        ["watch"] => watch(&client).await?,
        _ => eprintln!("config set NAME VALUE | config watch"),
    }
    Ok(())
}

/// Changes a setting, unless somebody else changes it at the same time: then it is looked at again,
/// since what they wrote may be a reason not to.
async fn set(client: &Client, name: &str, value: &str) -> Result<()> {
    let path = format!("{ROOT}/{name}");
    loop {
        let now = client.get(&path, None).await?;
        if now.as_ref().is_some_and(|file| file.value == value) {
            // Seen is not yet durable: whoever wrote it may still be waiting for that.
            let revision = now.map_or(Revision::MISSING, |file| file.revision);
            return client.wait_durable(revision).await;
        }
        let known = now.map_or(Revision::MISSING, |file| file.revision);
        match client.set(&path, known, value.to_owned()).await {
            Err(error) if error.is_rev_mismatch() => {}
            // In effect, and nothing to be undone; but nobody should rely on it yet.
            Err(error) if error.is_unconfirmed() => return Err(error),
            other => {
                println!("{name} = {value}, durable at revision {}", other?);
                return Ok(());
            }
        }
    }
}

/// Prints the present settings, then every change, none missed and none twice.
async fn watch(client: &Client) -> Result<()> {
    let glob = format!("{ROOT}/**");
    let now = client.rev().await?;
    let mut files = client.walk(&glob, Some(now));
    while let Some(file) = files.next().await {
        let file = file?;
        println!("{} = {}", file.path, String::from_utf8_lossy(&file.value));
    }
    let mut changes = client.watch(&glob, now.next());
    while let Some(change) = changes.next().await {
        let change = change?;
        match change.kind {
            EventKind::Set => {
                println!(
                    "{} = {}",
                    change.path,
                    String::from_utf8_lossy(&change.value)
                );
            }
            EventKind::Delete => println!("{} is unset", change.path),
            EventKind::Nop => {}
        }
    }
    Ok(())
}
