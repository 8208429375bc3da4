//! The stream of revisions: out of a snapshot's history first, then as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_journal::{Change, Revision};
use cairn_protocol::keys;
use futures::Stream;
use futures::stream;

use crate::cluster::conformance::fake::connection::{Connection, RULES};
use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::fake::store::{Events, LEASE_TTL, number};
use crate::cluster::control::Id;
use crate::cluster::error::{Error, Result};
use crate::cluster::followed::{Followed, LeaseFact, Touched};

struct Following {
    connection: Arc<Connection>,
    id: Id,
    fault: Fault,
    next: Revision,
    /// What is known and not told yet.
    known: VecDeque<Followed>,
    ended: bool,
}

pub(super) fn follow(
    connection: &Arc<Connection>,
    id: Id,
    fault: Fault,
    from: Revision,
) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
    let newest = connection.store.revision();
    let following = Following {
        connection: Arc::clone(connection),
        id,
        fault,
        next: match fault {
            Fault::WaitsForNothing => from.min(newest.next()),
            Fault::SkipsTheFirst => from.max(Revision(2)),
            _ => from,
        },
        known: VecDeque::new(),
        ended: false,
    };
    Box::pin(stream::unfold(following, |mut following| async move {
        let item = following.item().await?;
        Some((item, following))
    }))
}

impl Following {
    async fn item(&mut self) -> Option<Result<Followed>> {
        if self.ended && self.fault != Fault::GoesOn {
            return None;
        }
        let item = self.wait().await;
        self.ended = item.is_err();
        Some(item)
    }

    async fn wait(&mut self) -> Result<Followed> {
        let mut changed = self.connection.store.changed.subscribe();
        loop {
            self.connection.check(self.fault)?;
            if let Some(followed) = self.known.pop_front() {
                return Ok(followed);
            }
            changed.borrow_and_update();
            self.read()?;
            if self.known.is_empty() {
                tokio::select! {
                    _ = changed.changed() => {}
                    () = self.connection.ended.cancelled() => {}
                }
            }
        }
    }

    /// Takes all that there is from a snapshot.
    fn read(&mut self) -> Result<()> {
        let mut taken = self.connection.store.snapshot(self.next);
        if let (Err(oldest), Fault::BeginsLate) = (&taken, self.fault) {
            taken = self.connection.store.snapshot(*oldest);
        }
        let mut history = taken.map_err(|_| Error::HistoryDiscarded)?.history;
        if self.fault == Fault::LosesTheBacklog {
            history.drain(..history.len().saturating_sub(1_000));
        }
        for (revision, events) in history {
            self.next = revision.next();
            self.tell(revision, &events);
        }
        Ok(())
    }

    fn tell(&mut self, revision: Revision, events: &Events) {
        let mut followed = Followed {
            revision,
            ..Followed::default()
        };
        for event in events.iter() {
            let value = event.entry.as_ref().map(|entry| entry.value.clone());
            let key = &event.key;
            let lease = event.entry.as_ref().map_or(0, |entry| entry.lease);
            if lease != 0 && self.fault != Fault::HidesLeases {
                followed.leases.push(LeaseFact {
                    id: number(lease),
                    granted_ttl: Some(LEASE_TTL),
                });
            }
            let is_control = RULES.is_control(key);
            if is_control {
                followed.touched.extend(self.touched(key, value.clone()));
            }
            if is_control && self.fault == Fault::HidesControl {
                continue;
            }
            let change = match value {
                Some(value) => Change::set(key.clone(), value),
                None => Change::delete(key.clone()),
            };
            followed
                .changes
                .push(match is_control && self.fault != Fault::TellsControl {
                    true => change.control(),
                    false => change,
                });
        }
        match self.fault {
            Fault::SkipsRevisions if !followed.has_data() => return,
            Fault::RepeatsRevisions if revision.0 % 10 == 0 => {
                self.known.push_back(followed.clone());
            }
            Fault::TellsOneTouched => followed.touched.truncate(1),
            Fault::SplitsRevisions => {
                for change in followed.changes.split_off(1.min(followed.changes.len())) {
                    let part = Followed {
                        changes: vec![change],
                        ..followed.clone()
                    };
                    self.known.push_back(part);
                }
            }
            _ => {}
        }
        self.known.push_back(followed);
    }

    fn touched(&self, key: &[u8], value: Option<bytes::Bytes>) -> Option<Touched> {
        if key == keys::IDENTITY.as_bytes() {
            return Some(Touched::Identity(value));
        }
        let all = 1..=9;
        let told = |id: &Id| *id == self.id || self.fault == Fault::TellsAllOwners;
        let mut owners = all.filter(told);
        let id = owners.find(|id| key == keys::owner(*id).as_bytes())?;
        Some(Touched::Owner(id, value))
    }
}
