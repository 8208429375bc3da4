//! An embedded single-node server of the doozer protocol, in memory.
//!
//! To a client it is a real node, for as long as it does not look for a second one; the tests
//! hold it to exchanges recorded from a real server. It is meant for tests, for development, and
//! for a persister that brings its own cluster. Nothing is kept when it ends.
//!
//! ```
//! use std::time::Duration;
//!
//! use cairn_lite::{Options, Server};
//! use tokio::net::TcpListener;
//! use tokio::sync::oneshot;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! println!("listening on {}", listener.local_addr()?);
//!
//! let server = Server::new(Options { history: 2_000, ..Options::default() })?;
//! let control = server.control();
//! let (stop, stopped) = oneshot::channel::<()>();
//! let running = tokio::spawn(server.run(listener, async { stopped.await.unwrap_or_default() }));
//!
//! control.delay(Duration::from_millis(10)); // a slow network
//! control.drop_connections(); // a broken one
//!
//! drop(stop);
//! running.await??;
//! # anyhow::Ok(())
//! # })?;
//! # anyhow::Ok(())
//! ```
//!
//! Differences from a real node:
//!
//! * There is one node. Writes of one connection are applied in the order in which they arrive; a
//!   real node may apply them in another.
//! * It does not write `/ctl/node/<self>/applied` once a second, so revisions stand still when
//!   nobody writes.
//! * History ends exactly `history` revisions ago; a real node discards once a second.
//! * Limits are stated and answered: [`Options`], paths of 4,096 bytes and 256 names, one request
//!   per tag. A real node has most of them too, but hangs or misbehaves at them.
//! * DEL of a path below a file is a delete event that changes nothing. A real node silently
//!   loses the file above.

//!
//! Costs, where n is the number of names in a directory, or of events in history:
//!
//! * A write: O(log n) per directory of its path, and what it wakes. Waiters on other paths add
//!   nothing; see the waiters' module for the one exception, distinct wildcards at the same place.
//! * A WAIT from the past: O(log n) for one path, for `/**` and for `/directory/**`. For any other
//!   glob the names in history that it can match are looked through, under the node's lock: that
//!   many different paths at worst, however often they have changed. A window of such waits on
//!   one connection looks only once.
//! * GET and STAT of a file, now or in the past: O(log n). A listing, a directory or a missing
//!   file of the past takes a state that is made from a kept one by at most 255 events; the 16
//!   used last are remembered.
//! * The next entry of a listing on the same connection: O(log n), if the revision is the same.
//!   Otherwise a step for each name passed, and one for a whole directory where all below it
//!   matches.
//! * Memory: 0.5 to 1.5 KiB per revision of history besides the values, the more the more
//!   scattered the writes are; 1.3 KiB per waiting request; 4 KiB per idle connection.
//!
//! `cargo bench -p cairn-lite` measures it.

mod answer;
mod connection;
mod cursors;
mod hub;
mod input;
mod mode;
mod node;
mod options;
mod output;
mod refusal;
mod server;
pub mod store;
mod unmatched;
mod verbs;
mod waiters;
mod writes;

pub use mode::Control;
pub use options::{Options, OptionsError};
pub use server::{Server, run, run_with};
