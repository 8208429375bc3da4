//! A cluster that lives while it is written into: what others have written since, and past which
//! revision it is taken.

use cairn_journal::{Change, Revision};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::attach::continuity::told;
use crate::cluster::error::Result as ClusterResult;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::restore::progress_bar::Bar;

/// How many no-operations are in flight.
const NOPS: usize = 512;

/// Tells of every change outside the control area from revision `from` on, until now.
pub(super) async fn changes_since<S: Session>(
    session: &S,
    from: Revision,
    mut tell: impl FnMut(Change),
) -> ClusterResult<()> {
    let (mut due, now) = (from, session.revision().await?);
    let mut stream = session.follow(due);
    while due <= now {
        let followed = told(&mut stream).await?;
        let data = followed.changes.into_iter().filter(|it| !it.is_control);
        data.for_each(&mut tell);
        due = followed.revision.next();
    }
    Ok(())
}

/// Takes the cluster from revision `counter` to `newest` at least.
pub(super) async fn go_past<S: Session>(
    session: &S,
    counter: Revision,
    newest: Revision,
) -> Result<(), Error> {
    let missing = u64::try_from(newest.0 - counter.0).unwrap_or(0);
    let mut progress = Bar::new("going past the journal's newest revision", missing);
    let nops = stream::iter(0..missing).map(|_| session.advance());
    let mut nops = nops.buffer_unordered(NOPS);
    while nops.try_next().await?.is_some() {
        progress.one();
    }
    progress.done();
    Ok(())
}
