//! Follows all persisters over one connection: one watch of their keys, in the order of revisions.
//!
//! The identity is among them. So nothing is taken in that was written after the cluster had become
//! another one.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_etcd::wire::{
    Event, EventType, KeyValue, RangeRequest, RangeResponse, TxnRequest, WatchCreateRequest,
    response_op,
};
use cairn_etcd::{Batch, Error, Session, Watch};
use cairn_protocol::{keys, progress};
use futures::StreamExt;
use tokio::time::Instant;

use crate::core::persister::{Persister, Present};
use crate::core::revision::Revision;
use crate::core::witnesses::Witnesses;
use crate::etcd::link::{Link, Told};
use crate::etcd::reach::OwnWrites;

/// As many revisions may be asked for that were before the present.
const FEW: i64 = 1_000;

/// What a persister says by a key.
#[derive(Clone, Copy, Debug)]
enum Says {
    Watermark,
    Owner,
}

/// One persister, and how far its watermark is.
#[derive(Debug)]
struct Followed {
    persister: Arc<Persister>,
    watermark: Option<i64>,
}

/// Follows the persisters of a client over one connection.
#[derive(Debug)]
pub(crate) struct Follower {
    link: Arc<Link>,
    watch: Watch,
    followed: Vec<Followed>,
    /// What each key means, and of which of `followed`.
    meanings: HashMap<Bytes, (usize, Says)>,
    own: OwnWrites,
    /// Tells what the persisters wrote before the present, behind the oldest of their watermarks.
    earlier: Option<Watch>,
    /// The newest revision at which the present says that they wrote.
    present: i64,
}

impl Follower {
    /// Reads the present, and begins to watch what follows it.
    pub(crate) async fn begin(
        generation: u64,
        session: Session,
        witnesses: &Witnesses,
    ) -> Result<Self, Error> {
        // One transaction: one revision. A linearizable read, so not older than what was written
        // over an earlier connection.
        let persisters = &witnesses.persisters;
        let own = |one: &Arc<Persister>| {
            RangeRequest::prefix(format!("{}/ctl/", keys::directory(one.id)))
        };
        let identity = RangeRequest::key(keys::IDENTITY);
        let ranges = std::iter::once(identity).chain(persisters.iter().map(own));
        let read = TxnRequest {
            success: ranges.map(Into::into).collect(),
            ..TxnRequest::default()
        };
        let answer = session.call(read).await?;
        let now = answer.header.map_or(0, |header| header.revision);
        let ranges = answer.responses.into_iter();
        let ranges = ranges.map(|answer| match answer.response {
            Some(response_op::Response::Range(range)) => range,
            _ => RangeResponse::default(),
        });
        let mut found: Vec<KeyValue> = ranges.flat_map(|range| range.kvs).collect();
        found.sort_unstable_by_key(|kv| kv.mod_revision);

        let from = |first| WatchCreateRequest::prefix(keys::FLAT_ROOT, first);
        let watch = session.watch(from(now + 1)).await?;
        let meanings = persisters.iter().enumerate().flat_map(|(at, one)| {
            let (watermark, owner) = (keys::watermark(one.id), keys::owner(one.id));
            [
                (watermark.into(), (at, Says::Watermark)),
                (owner.into(), (at, Says::Owner)),
            ]
        });
        let followed = persisters.iter().map(|one| Followed {
            persister: Arc::clone(one),
            watermark: None,
        });
        let name = found.iter().find(|kv| kv.key == keys::IDENTITY);
        let told = Told {
            name: name.map(|kv| kv.value.clone()),
            ..Told::default()
        };
        let mut follower = Self {
            link: Arc::new(Link::new(generation, session, told)),
            watch,
            followed: followed.collect(),
            meanings: meanings.collect(),
            own: OwnWrites::default(),
            earlier: None,
            present: found.last().map_or(0, |kv| kv.mod_revision),
        };
        follower.take_present(found);
        if let Some(first) = follower.unknown_from() {
            // In a watch of its own, because a member takes a moment before it tells the past.
            let link = Arc::clone(&follower.link);
            follower.earlier = link.session.watch(from(first)).await.ok();
        }
        Ok(follower)
    }

    /// The connection.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Takes the present in. From here on, a write over this connection can be confirmed.
    fn take_present(&mut self, found: Vec<KeyValue>) {
        let mut owners = HashMap::new();
        for kv in found {
            self.own.note(kv.mod_revision);
            match self.meanings.get(&kv.key) {
                Some((at, Says::Watermark)) => {
                    self.followed[*at].watermark = watermark(&kv);
                }
                Some((at, Says::Owner)) => {
                    owners.insert(*at, Revision(kv.mod_revision));
                    self.link.held(self.followed[*at].persister.id, kv.lease);
                }
                None => {}
            }
        }
        for (at, one) in self.followed.iter().enumerate() {
            let reach = one.watermark.map(|watermark| self.own.reach(watermark));
            let present = Present {
                connection: self.link.generation,
                watermark: reach.map(Revision),
                owner: owners.get(&at).copied(),
                cluster: self.link.name(),
            };
            one.persister.begin(Instant::now(), present);
        }
    }

    /// From where on it is worth to know what persisters wrote until now, if it is: where nothing
    /// but that has happened for a while.
    fn unknown_from(&self) -> Option<i64> {
        let watermarks = self.followed.iter().filter_map(|one| one.watermark);
        let first = self.own.reach(watermarks.min()?) + 1;
        (self.present - FEW..=self.present)
            .contains(&first)
            .then_some(first)
    }

    /// Follows until the connection says no more of the writes that wait. Returns why.
    pub(crate) async fn run(&mut self) -> String {
        loop {
            let told = tokio::select! {
                biased;
                told = self.watch.next() => told,
                told = next(&mut self.earlier) => {
                    self.take_earlier(told).await;
                    continue;
                }
            };
            match told {
                Some(Ok(batch)) => {
                    if let Err(why) = self.take(batch.events).await {
                        return why;
                    }
                }
                Some(Err(error)) => return error.to_string(),
                None => return "the watch of the persisters has ended".to_owned(),
            }
        }
    }

    /// Takes in what persisters wrote before the present: that they did, and nothing else of it.
    async fn take_earlier(&mut self, told: Option<Result<Batch, Error>>) {
        let events = told.and_then(Result::ok).unwrap_or_default().events;
        let revisions = events.iter().filter_map(|event| event.kv.as_ref());
        let revisions: Vec<i64> = revisions.map(|kv| kv.mod_revision).collect();
        let newest = revisions.last().copied();
        revisions.into_iter().for_each(|at| self.own.note(at));
        // What is forgotten there, or cannot be read, is not known.
        if newest.is_none_or(|newest| newest >= self.present) {
            self.earlier = None;
        }
        self.raise().await;
    }

    /// Takes changes in, up to the revision in which the cluster becomes another one.
    async fn take(&mut self, events: Vec<Event>) -> Result<(), String> {
        let renamed = events.iter().filter_map(|event| {
            let kv = event.kv.as_ref()?;
            let name = (event.r#type != EventType::Delete as i32).then_some(&kv.value);
            let is_it = kv.key == keys::IDENTITY && !self.link.is_still_called(name);
            is_it.then_some(kv.mod_revision)
        });
        let renamed = renamed.min();
        let mut reached = false;
        for event in events {
            let is_delete = event.r#type == EventType::Delete as i32;
            let Some(kv) = event.kv else { continue };
            if renamed.is_some_and(|renamed| kv.mod_revision >= renamed) {
                break;
            }
            self.own.note(kv.mod_revision);
            self.take_one(&kv, is_delete);
            reached = true;
        }
        if reached {
            self.raise().await;
        }
        match renamed {
            None => Ok(()),
            Some(at) => Err(format!(
                "at revision {at} the cluster became another one, by its identity"
            )),
        }
    }

    fn take_one(&mut self, kv: &KeyValue, is_delete: bool) {
        let Some((at, says)) = self.meanings.get(&kv.key) else {
            return;
        };
        let now = Instant::now();
        let one = &mut self.followed[*at];
        one.persister.heard(now);
        match (says, is_delete) {
            (Says::Watermark, false) => one.watermark = one.watermark.max(watermark(kv)),
            // What is on disk stays there.
            (Says::Watermark, true) => {}
            (Says::Owner, false) => {
                one.persister.beat(now, Revision(kv.mod_revision));
                self.link.held(one.persister.id, kv.lease);
            }
            (Says::Owner, true) => {
                one.persister.released(now);
                self.link.released(one.persister.id);
            }
        }
    }

    /// Wakes the writes that all of that satisfies.
    async fn raise(&self) {
        for one in &self.followed {
            if let Some(watermark) = one.watermark {
                let reach = Revision(self.own.reach(watermark));
                if one.persister.watermark() < Some(reach) {
                    one.persister.raise(reach).await;
                }
            }
        }
    }
}

async fn next(watch: &mut Option<Watch>) -> Option<Result<Batch, Error>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// The revision that a watermark holds, if it can be one: below the revision at which it was
/// written.
fn watermark(kv: &KeyValue) -> Option<i64> {
    let said = progress::parse_revision(&kv.value).ok();
    let watermark = said.filter(|watermark| *watermark < kv.mod_revision);
    if watermark.is_none() {
        tracing::warn!(
            key = ?kv.key,
            written_at = kv.mod_revision,
            "the watermark is no revision before its own; it is passed over"
        );
    }
    watermark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &'static str) -> KeyValue {
        KeyValue {
            key: keys::watermark(1).into(),
            value: value.into(),
            mod_revision: 20,
            ..KeyValue::default()
        }
    }

    #[test]
    fn a_watermark_is_a_revision_before_its_own() {
        assert_eq!(watermark(&said("19")), Some(19));
        assert_eq!(watermark(&said("7\n")), Some(7));
        for foreign in ["20", "21", "999999", "x", ""] {
            assert_eq!(watermark(&said(foreign)), None, "{foreign}");
        }
    }
}
