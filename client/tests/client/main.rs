//! The client against scripted servers, a small model of a server, and recordings of a real one.

// A test that unwraps says what it expected, in its helpers too.
#![allow(clippy::unwrap_used)]

mod connection;
mod fake;
mod globs;
mod listing;
mod model;
mod mutated;
mod recordings;
mod requests;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod watch;

/// A seed for a random test: the one in `CAIRN_SEED`, to see a failure again, or a fresh one.
/// Printed, so that a failing test shows it.
fn seed() -> u64 {
    let seed = std::env::var("CAIRN_SEED").map_or_else(
        |_| fastrand::u64(..),
        |text| text.parse().expect("CAIRN_SEED is a number"),
    );
    println!("run again with CAIRN_SEED={seed}");
    seed
}
