//! How many requests a second? `load URI [COUNT]` writes and reads with more and more in flight,
//! and then follows what it has written.

use std::time::{Duration, Instant};

use cairn_client::{Client, Options, Result, Revision, Uri};
use futures::{StreamExt, TryStreamExt, stream};

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let uri: Uri = arguments.next().ok_or("usage: load URI [COUNT]")?.parse()?;
    let count: u32 = arguments
        .next()
        .map_or(Ok(100_000), |count| count.parse())?;
    let options = Options {
        request_timeout: Duration::from_secs(30),
        ..Options::default()
    };
    let client = Client::connect_with(&uri, options).await?;
    let from = client.rev().await?;
    for in_flight in [1, 8, 64, 256] {
        // One at a time takes as many round trips; a tenth of them tells as much.
        let count = if in_flight == 1 { count / 10 } else { count };
        let set = timed(count, in_flight, |n| {
            let client = client.clone();
            async move {
                client
                    .set(&format!("/load/{n}"), Revision::ANY, "value")
                    .await
                    .map(drop)
            }
        });
        let set = set.await?;
        let get = timed(count, in_flight, |n| {
            let client = client.clone();
            async move { client.get(&format!("/load/{n}"), None).await.map(drop) }
        });
        println!(
            "{in_flight:>4} in flight: {set:>8.0} SET/s {:>8.0} GET/s",
            get.await?
        );
    }
    let to = client.rev().await?;
    let start = Instant::now();
    let mut events = client.watch("/**", from.next());
    while events.next_revision() <= to {
        events.try_next().await?;
    }
    let rate = (to.0 - from.0) as f64 / start.elapsed().as_secs_f64();
    println!("watch: {rate:>8.0} events/s");
    Ok(())
}

/// Requests a second. The paths are a thousand different ones.
async fn timed<F: Future<Output = Result<()>>>(
    count: u32,
    in_flight: usize,
    request: impl Fn(u32) -> F,
) -> Result<f64> {
    let start = Instant::now();
    let requests = stream::iter(0..count).map(|n| request(n % 1_000));
    requests
        .buffer_unordered(in_flight)
        .try_collect::<()>()
        .await?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
