//! Reading ahead: a stream of changes is read on while something else has to happen first.
//!
//! A cluster forgets; what is not read in time is lost to history. A caller that has to wait
//! between the beginning of a stream and its use reads it into memory meanwhile, up to a bound:
//! nothing is dropped, reading only stops.

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::cluster::budget::ByteBudget;
use crate::cluster::error::Result as ClusterResult;
use crate::cluster::followed::Followed;

/// How many revisions are read ahead, and with the bytes that [`ByteBudget`] has. With more,
/// reading stops, and if the cluster then forgets them, there is a gap.
const READ_AHEAD_REVISIONS: usize = 65_536;

/// Reads `stream` from now on, whether or not anybody takes what was read.
pub fn read_ahead(
    mut stream: impl Stream<Item = ClusterResult<Followed>> + Send + Unpin + 'static,
) -> impl Stream<Item = ClusterResult<Followed>> + Send + Unpin {
    let (to, mut from) = mpsc::channel(READ_AHEAD_REVISIONS);
    tokio::spawn(async move {
        let budget = ByteBudget::new();
        loop {
            let item = tokio::select! {
                item = stream.next() => item,
                () = to.closed() => break,
            };
            let Some(item) = item else { break };
            let changes = item.as_ref().map_or(&[][..], |followed| &followed.changes);
            let held = budget.take(changes).await;
            if to.send((item, held)).await.is_err() {
                break;
            }
        }
    });
    futures::stream::poll_fn(move |context| {
        let next = from.poll_recv(context);
        next.map(|item| item.map(|(item, _held)| item))
    })
}
