//! The sync client of etcd v3: writes that return when they are on disk.
//!
//! # The invariant
//!
//! **`Ok` says: enough persisters have this very write on disk, in the cluster that answered it.**
//! A watermark is a number, and another cluster, or another history of the same one, has such
//! numbers too. So a watermark counts only with a proof that it speaks of the history in which the
//! write is:
//!
//! 1. *One connection.* The write was answered, and the watermark is watched, over one connection
//!    to one member, which never reconnects ([`cairn_etcd::Session`]). A member that runs applies
//!    one history and never takes a part of it back: it would have to end, and the connection with
//!    it.
//! 2. *One name.* The identity is read before the connection is used, and watched in the same watch
//!    as the watermarks, so in the order of revisions. When it becomes another one, the connection
//!    is closed before anything of that revision or a later one is taken in.
//! 3. *After a lost connection, once more.* A write that waits is carried over to another
//!    connection only if the identity there is that of before, **and** the history there has, at
//!    the write's own revision, what the write did. The identity alone does not tell: a cluster
//!    that lost its last seconds, or was restored from a snapshot of its operator, has the one of
//!    before.
//! 4. *No watermark before its time.* A watermark is written after what it covers, so it is below
//!    the revision of its own write. One that is not was meant for another history (a persister had
//!    sent it when the cluster went back) and is passed over.
//!
//! Two things are not told apart, and one is left open. A history that has the same effects at the
//! same revision counts as the one of the write: what the write says is then true there. What is
//! written below `/ctl/persistence/` is taken for the persisters' own alone: a program that writes
//! there and elsewhere in one transaction can make a watermark reach too far. And the fourth point
//! is a bound, not a proof: if most members lose their last seconds while another one still hands
//! on a persister's transaction, and the new history is longer than the lost one by then, that
//! watermark speaks of what is lost.
//!
//! A write for which this cannot be shown ends as [`Error::Unconfirmed`], which says why. One whose
//! answer was lost ends as an error that [may have happened](Error::may_have_happened). It is never
//! sent twice.
//!
//! # What waits, and for how long
//!
//! At most [`Options::max_in_flight`] writes are under way, from their call to their end. Each
//! waits for a connection, and for its answer, as long as [`Options::request_timeout`], and then
//! for the persisters as long as [`Durability::timeout`](crate::Durability::timeout). What changed
//! nothing (a failed condition, a delete of nothing) waits for nobody.
//!
//! ```no_run
//! use cairn_etcd::wire::{Compare, PutRequest, TxnRequest};
//! use cairn_sync_client::etcd::{Client, Error, Uri};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let uri: Uri = "etcd://10.0.0.1:2379,10.0.0.2:2379?persist=1,2,3&require=2".parse()?;
//! let client = Client::connect(&uri).await?;
//!
//! let create = TxnRequest {
//!     compare: vec![Compare::absent("/users/7")],
//!     success: vec![PutRequest::new("/users/7", "Ada").into()],
//!     failure: vec![],
//! };
//! match client.txn(create).await {
//!     Ok(answer) if answer.succeeded => println!("created, and on two disks"),
//!     Ok(_) => println!("it was there already"),
//!     Err(Error::Unconfirmed(it)) => println!("in effect, perhaps not on disk: {it}"),
//!     Err(error) if error.may_have_happened() => println!("nobody can tell: {error}"),
//!     Err(error) => println!("not done: {error}"),
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod confirm;
mod effects;
mod error;
mod follow;
mod keeper;
mod link;
mod reach;
mod written;

pub use cairn_etcd::{Environment, Options, Session, Target, Uri, Watch, wire};

pub use crate::etcd::client::Client;
pub use crate::etcd::error::{Behind, Error, Reason, Result, Unconfirmed};
pub use crate::etcd::written::Written;
