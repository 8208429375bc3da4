//! `cairn __liar URI ID`: a persister that publishes a watermark and journals nothing.
//!
//! The canary: a drill in which clients wait for the liar must fail, or the drill shows nothing.

use anyhow::Context as _;
use cairn_client::{Client, Options, Revision, Uri};
use cairn_protocol::keys;
use futures::TryStreamExt as _;

/// The hidden subcommand.
pub const LIAR: &str = "__liar";

/// Says of everything at once that it is on disk, for as long as the cluster lives.
///
/// # Errors
/// If the cluster is not there, or goes away.
pub async fn liar(uri: &str, id: u32) -> anyhow::Result<()> {
    let uri: Uri = uri.parse()?;
    let options = Options {
        reconnect: false,
        ..Options::default()
    };
    let client = Client::connect_with(&uri, options).await?;
    let from = client.rev().await?;
    let mut events = client.watch("/**", from);
    while let Some(event) = events.try_next().await? {
        // Its own watermark would make it publish for ever.
        if event.revision == from || !keys::is_internal(&event.path) {
            let says = event.revision.to_string();
            client
                .set(&keys::watermark(id), Revision::ANY, says)
                .await?;
        }
    }
    None.context("the cluster has gone")
}
