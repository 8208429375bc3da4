//! Migrating from the regular client. The difference is one line:
//!
//! ```diff
//! -use cairn_client::{Client, Revision, Uri};
//! +use cairn_sync_client::{Client, Revision, Uri};
//! ```
//!
//! From then on `set` and `del` return when the write is on disk. Whom to wait for may be said in
//! the URI or the environment, so not even the configuration needs another shape:
//!
//! ```sh
//! CAIRN_PERSIST=1,2,3 CAIRN_REQUIRE=2 cargo run --example migrate -- doozer:?ca=127.0.0.1:8046
//! ```

use cairn_sync_client::{Client, Revision, Uri};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let uri = std::env::args().nth(1);
    let uri: Uri = uri.unwrap_or("doozer:?ca=127.0.0.1:8046".into()).parse()?;
    let client = Client::connect(&uri).await?;

    let revision = client.set("/greeting", Revision::ANY, "hello").await?;
    println!("written at revision {revision}");
    Ok(())
}
