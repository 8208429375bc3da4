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
//! * History ends exactly `history` revisions ago, or `history_bytes` if those are fewer; a real
//!   node discards once a second.
//! * Limits are stated and answered: [`Options`], paths of 4,096 bytes and 256 names, one request
//!   per tag. A real node has most of them too, but hangs or misbehaves at them.
//! * DEL of a path below a file is a delete event that changes nothing. A real node silently
//!   loses the file above.
//!
//! * It knows one verb more: FOLLOW(n), number 1,001, answers all events from n on, as many as
//!   there are and fit, or the next one as soon as it is there. The answer's revision is that of
//!   the last event, its value the frames that WAITs for these revisions would have answered,
//!   without tags. A real node answers that it does not know the verb.
//!
//! Costs, where n is the number of names in a directory, or of events in history:
//!
//! * A write: O(log n) per directory of its path, and what it wakes. Waiters on other paths add
//!   nothing; see the waiters' module for the one exception, distinct wildcards at the same place.
//! * A WAIT from the past: O(log n) for one path, for `/**` and for `/directory/**`. For any other
//!   glob up to 256 names in history are looked through; where it can match more, every event is
//!   tried that is below its directory, a few at a time, without the node's lock. A window of such
//!   waits on one connection looks only once.
//! * A FOLLOW: the events that it answers, 512 or 256 KiB at most.
//! * GET and STAT of a file, now or in the past: O(log n). A listing, a directory or a missing
//!   file of the past takes a state that is made from a kept one by at most 511 events, without
//!   the node's lock; the 16 used last are remembered.
//! * Nobody holds the lock for more than about 1,000 steps of this kind, a fraction of a
//!   millisecond ([`Control::most_steps`]).
//! * The next entry of a listing on the same connection: O(log n), if the revision is the same.
//!   Otherwise a step for each name passed, and one for a whole directory where all below it
//!   matches.
//! * Memory: 0.5 to 1.5 KiB per revision of history besides the values, the more the more
//!   scattered the writes are; values in history up to [`Options::history_bytes`]; 1.3 KiB per
//!   waiting request; 4 KiB per idle connection; [`Options::max_arriving`] for all requests that
//!   are sent in part.
//!
//! `cargo bench -p cairn-lite` measures it.

mod answer;
mod arriving;
mod connection;
mod cursors;
mod descriptors;
mod express;
mod feeds;
mod following;
mod hub;
mod input;
mod local;
mod mode;
mod node;
mod options;
mod output;
mod refusal;
mod server;
mod spare;
pub mod store;
mod throttle;
mod unmatched;
mod verbs;
mod waiters;
mod writes;

pub use descriptors::raise_limit;
pub use local::{Feed, GuardedBy, Local, LocalError};
pub use mode::Control;
pub use options::{Options, OptionsError};
pub use server::{Server, run, run_with};
