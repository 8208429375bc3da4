//! Writing the keys, each at the revision that it had.
//!
//! Invariants:
//!
//! * A key never comes back at a lower revision than it had, unless a server has changed the order
//!   of writes that were in flight together (then, at most, by as many as were in flight). So a
//!   compare-and-set with an old revision never succeeds where it would not have before.
//! * Every answer's revision is compared with the one that was meant. At the first that differs
//!   (somebody else writes, or the server does not keep the order) what is in flight is waited for,
//!   and from then on keys go one at a time, each only when the cluster is at the revision before
//!   its own.
//! * The counter ends at `upto` or beyond, unless nothing is to be filled.
//! * Keys of one revision come back in one, as far as the cluster takes so many at once; the rest
//!   in the next ones.
//!
//! No-operations are interchangeable: they always fly together.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use cairn_journal::Revision;
use futures::future::{Either, Ready, ready};
use futures::poll;
use std::task::Poll;

use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::session::Session;
use crate::cluster::write::{Expect, Write};
use crate::error::Error;
use crate::restore::claim::RestoreClaim;
use crate::restore::item::Item;
use crate::restore::outcome::Shifted;
use crate::restore::progress_bar::Bar;

/// How many no-operations are in flight at most: as many as keep a connection busy.
pub(super) const NOPS: usize = 512;

/// How many no-operations go without looking where the cluster is: what somebody else writes
/// meanwhile is noticed before the last few, so that these lead exactly to the next key's revision.
const LAST_FEW: i64 = 8;

/// How many no-operations make it worth to look: it takes a round trip.
const LOOK_FROM: i64 = 64;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// In any order.
    pub(super) items: Vec<Item>,
    /// Where the counter has to end.
    pub(super) upto: Revision,
    /// How many keys may be in flight, where each is a revision of its own.
    pub(super) in_flight: usize,
    /// Whether revisions without keys are filled, so that each key gets the revision that it had.
    /// If not, the keys come in the order of their revisions, and the counter ends with the last.
    pub(super) fills: bool,
    /// How many keys, and bytes of them, one revision may have.
    pub(super) most_keys: usize,
    pub(super) most_bytes: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) shifted: Vec<Shifted>,
    /// The first answer that was not the one that was meant: keys went one at a time from there.
    pub(super) surprise: Option<Revision>,
}

type Flight<'a> = Pin<Box<dyn Future<Output = ClusterResult<Option<Revision>>> + Send + 'a>>;

/// A write that was sent, and the key with the revision that it is meant to get; `None`: a
/// no-operation.
struct Sent<'a> {
    key: Option<(&'a Item, Revision)>,
    flight: Either<Flight<'a>, Ready<ClusterResult<Option<Revision>>>>,
}

struct Writer<'a, 'm, S> {
    session: &'a S,
    claim: &'a mut RestoreClaim<'m, S>,
    sent: VecDeque<Sent<'a>>,
    keys_in_flight: usize,
    applied: Applied,
    progress: Bar,
    fills: bool,
    most_keys: usize,
    most_bytes: usize,
}

/// Writes everything. Holds nothing but what it was given.
///
/// # Errors
/// The cluster's; [`ClusterError::Conflict`] if somebody has taken over or writes the same keys.
pub(super) async fn apply<S: Session>(
    session: &S,
    claim: &mut RestoreClaim<'_, S>,
    mut work: Work,
) -> Result<Applied, Error> {
    work.items.sort_unstable_by_key(|item| item.revision);
    let current = session.revision().await?;
    let way = match work.fills {
        true => u64::try_from(work.upto.0.saturating_sub(current.0)).unwrap_or(0),
        false => 0,
    };
    let Work {
        items,
        upto,
        in_flight,
        fills,
        most_keys,
        most_bytes,
    } = work;
    let mut writer = Writer {
        session,
        claim,
        sent: VecDeque::new(),
        keys_in_flight: 0,
        applied: Applied::default(),
        progress: Bar::new("restoring revisions", way.max(items.len() as u64)),
        fills,
        most_keys,
        most_bytes,
    };
    let mut rest = &items[..];
    if in_flight > 1 && fills {
        rest = writer.together(rest, current, upto, in_flight).await?;
    }
    writer.one_by_one(rest, upto).await?;
    writer.progress.done();
    Ok(std::mem::take(&mut writer.applied))
}

impl<'a, S: Session> Writer<'a, '_, S> {
    /// Keys and no-operations in one stream, as long as each gets the revision that it should.
    /// Returns the keys that were not sent.
    async fn together(
        &mut self,
        items: &'a [Item],
        mut current: Revision,
        upto: Revision,
        in_flight: usize,
    ) -> Result<&'a [Item], Error> {
        let mut rest = items;
        while let Some((item, others)) = rest.split_first() {
            while current.next() < item.revision && self.applied.surprise.is_none() {
                self.send_nop().await?;
                current = current.next();
            }
            while self.keys_in_flight >= in_flight {
                let oldest_key = self.sent.iter().position(|sent| sent.key.is_some());
                self.settle(oldest_key.unwrap_or(0)).await?;
            }
            if self.applied.surprise.is_some() {
                break;
            }
            current = current.next();
            self.keys_in_flight += 1;
            self.send(Some((item, current))).await?;
            rest = others;
        }
        while current < upto && self.applied.surprise.is_none() {
            self.send_nop().await?;
            current = current.next();
        }
        self.settle_all().await?;
        Ok(rest)
    }

    /// Each revision's keys when the cluster is at the revision before it.
    async fn one_by_one(&mut self, mut items: &'a [Item], upto: Revision) -> Result<(), Error> {
        let mut current = self.session.revision().await?;
        // What made keys go one by one may be that somebody has taken over.
        self.claim.check().await?;
        while let Some(first) = items.first() {
            let (together, others) = items.split_at(self.of_one_revision(items));
            items = others;
            current = self.advance(current, first.revision.previous()).await?;
            let session = self.claim.session().await?;
            let at = put(&session, together).await?;
            for item in together {
                self.progress.one();
                self.wrote(item, current.next(), at);
            }
            if at != current.next() {
                // Whoever wrote in between may have taken over.
                self.claim.check().await?;
            }
            current = at;
        }
        self.advance(current, upto).await?;
        Ok(())
    }

    /// How many of the first items can be one revision, as they were.
    fn of_one_revision(&self, items: &[Item]) -> usize {
        let (mut count, mut bytes) = (0, 0);
        for item in items {
            bytes += item.path.len() + item.value.len();
            let is_more = item.revision != items[0].revision
                || count >= self.most_keys
                || bytes > self.most_bytes;
            if is_more && count > 0 {
                break;
            }
            count += 1;
        }
        count
    }

    /// Consumes revisions up to `to`, if they are filled; returns where the cluster is then.
    async fn advance(&mut self, mut current: Revision, to: Revision) -> Result<Revision, Error> {
        while self.fills && current < to {
            let missing = to.0 - current.0;
            let looking = missing > LOOK_FROM;
            let now = if looking { missing - LAST_FEW } else { missing };
            for _ in 0..now {
                self.send_nop().await?;
            }
            self.settle_all().await?;
            current = if looking {
                self.session.revision().await?
            } else {
                to
            };
        }
        Ok(current)
    }

    async fn send_nop(&mut self) -> Result<(), Error> {
        self.send(None).await
    }

    /// Puts a key, or else a no-operation, on the wire, behind all others.
    async fn send(&mut self, key: Option<(&'a Item, Revision)>) -> Result<(), Error> {
        if self.sent.len() >= NOPS {
            self.settle(NOPS / 8).await?;
        }
        let session = self.claim.session().await?;
        let mut flight: Flight<'a> = match key {
            Some((item, _)) => {
                Box::pin(async move { put(&session, std::slice::from_ref(item)).await.map(Some) })
            }
            None => Box::pin(async move { session.advance().await.map(|()| None) }),
        };
        // The first poll is what gives it its place.
        let flight = match poll!(&mut flight) {
            Poll::Ready(answer) => Either::Right(ready(answer)),
            Poll::Pending => Either::Left(flight),
        };
        self.sent.push_back(Sent { key, flight });
        Ok(())
    }

    async fn settle_all(&mut self) -> Result<(), Error> {
        match self.sent.len().checked_sub(1) {
            Some(last) => self.settle(last).await,
            None => Ok(()),
        }
    }

    /// Takes in the oldest answers, up to the one at `index` and what has come by then. It is that
    /// one which is waited for: to be woken by each answer before it would take longer than the
    /// answers do. And whoever sends as many again sends them together, not each in a packet of its
    /// own.
    async fn settle(&mut self, index: usize) -> Result<(), Error> {
        if let Some(Sent { flight, .. }) = self.sent.get_mut(index)
            && let Either::Left(waiting) = flight
        {
            let answer = waiting.await;
            *flight = Either::Right(ready(answer));
        }
        let mut taken = 0;
        while let Some(mut sent) = self.sent.pop_front() {
            let answer = match poll!(&mut sent.flight) {
                Poll::Ready(answer) => answer?,
                Poll::Pending if taken <= index => sent.flight.await?,
                Poll::Pending => {
                    self.sent.push_front(sent);
                    break;
                }
            };
            taken += 1;
            self.progress.one();
            if let Some((item, meant)) = sent.key {
                self.keys_in_flight -= 1;
                if let Some(at) = answer {
                    self.wrote(item, meant, at);
                }
            }
        }
        Ok(())
    }

    fn wrote(&mut self, item: &Item, meant: Revision, at: Revision) {
        if at != item.revision {
            self.applied.shifted.push(Shifted {
                path: item.path.clone(),
                before: item.revision,
                now: at,
            });
        }
        if at != meant && self.applied.surprise.is_none() {
            tracing::warn!(
                expected = %meant, found = %at,
                "somebody else writes to this cluster (a doozer node does so once a second), or it \
                 does not keep the order of writes: going on key by key"
            );
            self.applied.surprise = Some(at);
        }
    }
}

/// Makes keys, all in one revision, which is returned.
async fn put<S: Session>(session: &S, items: &[Item]) -> ClusterResult<Revision> {
    let writes: Vec<Write> = items
        .iter()
        .map(|item| item.write(Expect::Absent))
        .collect();
    let revision = session.apply(&writes).await?;
    revision.ok_or_else(|| {
        ClusterError::Unavailable("the cluster did not say at which revision it wrote".to_owned())
    })
}
