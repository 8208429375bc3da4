//! Waiting for enough of several persisters.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::core::persister::Persister;
use crate::core::revision::Revision;
use crate::core::target::Target;
use crate::core::waiters::Word;

/// The outcome of waiting for several persisters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    Confirmed,
    /// The connection was replaced.
    Moved,
    /// It takes longer than is usual.
    Late,
}

/// Waits, side by side, until `required` of the persisters have the target on disk, seen over this
/// connection. Adds each that has to `confirmed_by`. `since`: as for [`Persister::wait`].
pub(crate) async fn wait(
    persisters: &[Arc<Persister>],
    required: usize,
    connection: u64,
    target: &Target,
    since: Option<Instant>,
    confirmed_by: &mut Vec<u32>,
) -> Round {
    // The usual policy needs no machinery.
    if let [only] = persisters {
        return match only.wait(connection, target, since).await {
            Word::Covered => {
                confirmed_by.push(only.id);
                Round::Confirmed
            }
            Word::Moved => Round::Moved,
            Word::Late => Round::Late,
        };
    }
    let waits = persisters.iter().map(|persister| async {
        let word = persister.wait(connection, target, since).await;
        (persister.id, word)
    });
    let mut waits: FuturesUnordered<_> = waits.collect();
    while let Some((id, word)) = waits.next().await {
        match word {
            Word::Covered => confirmed_by.push(id),
            Word::Moved => return Round::Moved,
            Word::Late => return Round::Late,
        }
        if confirmed_by.len() >= required {
            return Round::Confirmed;
        }
    }
    unreachable!("no more persisters are required than there are")
}

/// The newest revision up to which `required` of the persisters have everything on disk; `None`:
/// fewer have published a watermark.
pub(crate) fn durable_to(persisters: &[Arc<Persister>], required: usize) -> Option<Revision> {
    let published = persisters.iter().filter_map(|one| one.watermark());
    let mut newest_first: Vec<_> = published.collect();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    newest_first.get(required - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::persister::Present;

    fn at(id: u32, connection: u64, watermark: i64) -> Arc<Persister> {
        let persister = Persister::new(id);
        let present = Present {
            connection,
            watermark: Some(Revision(watermark)),
            owner: None,
            cluster: None,
        };
        persister.begin(Instant::now(), present);
        persister
    }

    #[tokio::test]
    async fn as_many_as_are_required_confirm_and_the_others_are_not_waited_for() {
        let persisters = [at(1, 1, 10), at(2, 1, 3), at(3, 1, 11)];
        let mut confirmed_by = Vec::new();
        let target = Target::All(Revision(10));
        let round = wait(&persisters, 2, 1, &target, None, &mut confirmed_by).await;
        confirmed_by.sort_unstable();
        assert_eq!((round, confirmed_by), (Round::Confirmed, vec![1, 3]));
    }

    #[test]
    fn durable_is_what_enough_watermarks_have_reached() {
        let persisters = [at(1, 1, 10), at(2, 1, 3), Persister::new(3)];
        assert_eq!(durable_to(&persisters, 1), Some(Revision(10)));
        assert_eq!(durable_to(&persisters, 2), Some(Revision(3)));
        assert_eq!(durable_to(&persisters, 3), None);
    }

    #[tokio::test]
    async fn a_replaced_connection_ends_the_wait() {
        let persisters = [at(1, 2, 10)];
        let target = Target::All(Revision(10));
        let round = wait(&persisters, 1, 1, &target, None, &mut Vec::new()).await;
        assert_eq!(round, Round::Moved);
    }
}
