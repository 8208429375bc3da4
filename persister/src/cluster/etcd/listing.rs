//! Keys in pages, all of them as they were at one revision, as far as the cluster keeps it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use cairn_etcd::wire::{KeyValue, RangeRequest};
use cairn_etcd::{ErrorKind, Session};
use cairn_etcd_snapshot::Snapshot;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::task::block_in_place;

use crate::cluster::error::{Error, Result};
use crate::cluster::etcd::granted::Granted;
use crate::cluster::etcd::spool::{LiveKeys, Spool, times};

/// Keys with all that is known of them.
type Keys = BoxStream<'static, Result<KeyValue>>;

/// How many keys the first page has at most, and any page.
const FIRST_PAGE: i64 = 256;
const LARGEST_PAGE: i64 = 4096;

/// How many keys are read from a snapshot in one go.
const SNAPSHOT_KEYS: usize = 1_024;

/// A page of less than this makes the next one larger.
const SMALL_PAGE_BYTES: usize = 1 << 20;

/// All keys of `range`, each once, in order. They are as they were at one revision: `at`, or the
/// newest one if `at` is 0 or forgotten. Where that is forgotten in the middle, the rest is as at
/// the newest revision.
pub(super) fn list(
    session: Session,
    range: RangeRequest,
    at: i64,
) -> impl Stream<Item = Result<KeyValue>> + Send + Unpin + 'static {
    let listing = Listing {
        session,
        range,
        at,
        limit: FIRST_PAGE,
        page: VecDeque::new(),
        has_more: true,
    };
    Box::pin(stream::try_unfold(listing, |mut listing| async move {
        while listing.page.is_empty() && listing.has_more {
            listing.next_page().await?;
        }
        Ok(listing.page.pop_front().map(|key| (key, listing)))
    }))
}

/// All keys that there are, as [`list`] gives them at `at`; if they are many, and there is a spool,
/// from a snapshot that is not older.
pub(super) fn everything(
    session: Session,
    granted: Arc<Granted>,
    spool: Option<Spool>,
    at: i64,
) -> Keys {
    let opened = async move {
        let snapshot = match spool {
            Some(spool) => many(&session, &spool, at).await?,
            None => None,
        };
        match snapshot {
            Some(snapshot) => {
                granted.remember(&block_in_place(|| times(&snapshot))?);
                in_snapshot(&snapshot)
            }
            None => Ok(list(session, RangeRequest::all(), at).boxed()),
        }
    };
    stream::once(opened).try_flatten().boxed()
}

/// A snapshot that is not older than `at`, if there are so many keys that it is worth one.
async fn many(session: &Session, spool: &Spool, at: i64) -> Result<Option<Snapshot>> {
    let count = RangeRequest {
        count_only: true,
        ..RangeRequest::all()
    };
    let count = session.call(count).await?.count;
    if count < spool.worth {
        return Ok(None);
    }
    tracing::info!(keys = count, "reading the state from a snapshot");
    let snapshot = spool.fetch(session).await?;
    let is_new = |snapshot: &Snapshot| snapshot.revision() >= at;
    if snapshot.as_ref().is_some_and(|snapshot| !is_new(snapshot)) {
        tracing::info!("the member lags, and its snapshot with it: reading the state in pages");
    }
    Ok(snapshot.filter(is_new))
}

fn in_snapshot(snapshot: &Snapshot) -> Result<Keys> {
    let live = block_in_place(|| LiveKeys::of(snapshot))?;
    let chunks = stream::try_unfold(live, |mut live| async move {
        let keys = block_in_place(|| live.keys(SNAPSHOT_KEYS))?;
        let has_more = !keys.is_empty();
        let keys = stream::iter(keys.into_iter().map(Ok::<_, Error>));
        Ok::<_, Error>(has_more.then_some((keys, live)))
    });
    Ok(chunks.try_flatten().boxed())
}

struct Listing {
    session: Session,
    /// What is left of it.
    range: RangeRequest,
    /// The revision that is read at; 0 for the newest, which the next page then settles.
    at: i64,
    limit: i64,
    page: VecDeque<KeyValue>,
    has_more: bool,
}

impl Listing {
    async fn next_page(&mut self) -> Result<()> {
        let request = RangeRequest {
            limit: self.limit,
            revision: self.at,
            ..self.range.clone()
        };
        match self.session.call(request).await {
            Ok(answer) => {
                if self.at == 0 {
                    self.at = answer.header.map_or(0, |header| header.revision);
                }
                self.has_more = answer.more;
                if let Some(last) = answer.kvs.last() {
                    self.range.key = after(&last.key);
                }
                let bytes: usize = answer.kvs.iter().map(prost::Message::encoded_len).sum();
                if bytes < SMALL_PAGE_BYTES {
                    self.limit = (self.limit * 2).min(LARGEST_PAGE);
                }
                self.page = answer.kvs.into();
                Ok(())
            }
            // What is listed next is newer, and so is not older than was asked for.
            Err(error) if matches!(error.kind(), ErrorKind::Compacted(_)) && self.at != 0 => {
                tracing::debug!(
                    at = self.at,
                    "forgotten while it was listed: going on newer"
                );
                self.at = 0;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::TooLarge && self.limit > 1 => {
                self.limit /= 2;
                Ok(())
            }
            Err(error) => Err(Error::from(error)),
        }
    }
}

/// The first key that comes after `key`.
fn after(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
