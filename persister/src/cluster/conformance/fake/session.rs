//! One connection to the cluster.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_journal::Revision;
use cairn_protocol::{keys, progress};
use futures::{Stream, stream};

use crate::cluster::capabilities::{Capabilities, Guard, Limits, Liveness, Restores};
use crate::cluster::conformance::fake::connection::{Connection, RULES};
use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::fake::following;
use crate::cluster::conformance::fake::store::{Entry, LEASE_TTL, Lease, Store};
use crate::cluster::control::{Announcements, Control, ControlKey, Id};
use crate::cluster::error::{Conflict, Error, Result};
use crate::cluster::followed::{Attributes, Followed, LeaseFact, Live};
use crate::cluster::rules::KeyRules;
use crate::cluster::session::Session;
use crate::cluster::write::{Expect, Key, Write};

const LIMITS: Limits = Limits {
    value_bytes: 4_096,
    most_value_bytes: 4_096,
    key_bytes: 4_096,
    key_names: usize::MAX,
    revision_bytes: 1 << 20,
    in_order: false,
};

const WRITES: usize = 128;

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct FakeSession {
    connection: Arc<Connection>,
    id: Id,
    fault: Fault,
    fence: Option<Bytes>,
}

type Changes = Vec<(Bytes, Option<Bytes>, Lease)>;

impl FakeSession {
    pub(super) fn new(store: &Arc<Store>, id: Id, fault: Fault) -> Self {
        Self {
            connection: Arc::new(Connection::new(store, fault)),
            id,
            fault,
            fence: None,
        }
    }

    fn store(&self) -> &Store {
        &self.connection.store
    }

    /// Every call passes here before it is sent, and every write once more before its answer comes.
    fn send(&self) -> Result<()> {
        self.store().between.come();
        self.connection.check(self.fault)
    }

    /// Why these writes can be no revision.
    fn refuse(&self, writes: &[Write]) -> Result<()> {
        let no = |why: &str| Err(Error::Refused(why.to_owned()));
        if self.fault == Fault::TakesAnything {
            return Ok(());
        }
        if writes.is_empty() || writes.len() > WRITES {
            return no("not one to 128 writes");
        }
        let (mut keys, mut bytes) = (HashSet::new(), 0);
        for write in writes {
            if let Key::Data(key) = &write.key
                && (RULES.why_not(key).is_some() || RULES.is_control(key))
            {
                return no("no key");
            }
            let value = write.value.as_ref().map_or(0, Bytes::len);
            bytes += value;
            if value > LIMITS.value_bytes || bytes > LIMITS.revision_bytes {
                return no("too long");
            }
            if !keys.insert(&write.key) {
                return no("a key twice");
            }
        }
        Ok(())
    }

    /// What does not hold.
    fn conflict(&self, live: &BTreeMap<Bytes, Entry>, writes: &[Write]) -> Option<Conflict> {
        let identity = live
            .get(keys::IDENTITY.as_bytes())
            .map(|entry| &entry.value);
        if self.fence.is_some() && identity != self.fence.as_ref() {
            match self.fault {
                Fault::FenceIsOpen => {}
                Fault::MixesConflicts => return Some(Conflict::Key),
                _ => return Some(Conflict::Identity),
            }
        }
        let holds = |write: &Write| match (write.expect, live.get(&name(&write.key))) {
            (Expect::Any, _) | (Expect::Absent, None) => true,
            (Expect::Absent, Some(_)) | (Expect::At(_), None) => false,
            (Expect::At(at), Some(entry)) => entry.modified <= at,
        };
        let fails = !writes.iter().all(holds) && self.fault != Fault::ExpectsNothing;
        fails.then_some(Conflict::Key)
    }

    fn changes(&self, live: &BTreeMap<Bytes, Entry>, writes: &[Write]) -> Changes {
        let is_change =
            |write: &&Write| write.value.is_some() || live.contains_key(&name(&write.key));
        let change = |write: &Write| {
            let is_owner = matches!(write.key, Key::Control(ControlKey::Owner(_)));
            let lease = if is_owner { self.connection.lease } else { 0 };
            (name(&write.key), write.value.clone(), lease)
        };
        writes.iter().filter(is_change).map(change).collect()
    }

    fn refuses_neighbours(&self, writes: &[Write]) -> bool {
        let all = self.store().state_at(self.store().revision());
        let is_neighbour =
            |write: &Write| all.keys().any(|key| name(&write.key).starts_with(&key[..]));
        self.fault == Fault::RefusesNeighbours && writes.iter().any(is_neighbour)
    }
}

/// What a key is called in this engine.
fn name(key: &Key) -> Bytes {
    match key {
        Key::Data(key) => key.clone(),
        Key::Control(ControlKey::Identity) => keys::IDENTITY.into(),
        Key::Control(ControlKey::Owner(id)) => keys::owner(*id).into(),
        Key::Control(ControlKey::Watermark(id)) => keys::watermark(*id).into(),
        Key::Control(ControlKey::Mirrored(id)) => keys::mirror_progress(*id).into(),
        Key::Control(ControlKey::Mirror(id, key)) => {
            [keys::flat_mirror(*id).as_bytes(), key].concat().into()
        }
    }
}

impl Session for FakeSession {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes_per_revision: WRITES,
            guard: Guard::Identity,
            liveness: Liveness::Leased {
                every: Duration::ZERO,
                expires_after: Duration::ZERO,
            },
            may_roll_back: true,
            tells_control: true,
            tells_leases: true,
            mirrors_paths: false,
            loads: self.fault == Fault::LoadsNothing,
            holds_back: false,
            restores: Restores::Writes,
            leases: self.fault == Fault::GrantsNothing,
        }
    }

    fn rules(&self) -> KeyRules {
        RULES
    }

    async fn limits(&self) -> Result<Limits> {
        self.send()?;
        Ok(Limits {
            in_order: self.fault == Fault::LosesOrder,
            ..LIMITS
        })
    }

    fn fenced(&self, identity: &Bytes) -> Self {
        Self {
            fence: Some(identity.clone()),
            ..self.clone()
        }
    }

    async fn revision(&self) -> Result<Revision> {
        self.send()?;
        Ok(match self.fault {
            Fault::Lags => self.store().revision().previous(),
            Fault::HidesRollBacks => self.store().highest(),
            _ => self.store().revision(),
        })
    }

    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
        following::follow(&self.connection, self.id, self.fault, from)
    }

    fn snapshot(&self, at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        let (fault, sent) = (self.fault, self.send());
        let state = match fault {
            Fault::SnapshotIsOld => self.store().state_at(Revision(at.0 - 20)),
            // Nothing after the newest revision is history.
            _ => match self.store().snapshot(Revision(i64::MAX)) {
                Ok(snapshot) => snapshot.live,
                Err(oldest) => self.store().state_at(oldest),
            },
        };
        let seen = self.connection.asked.fetch_add(1, Ordering::Relaxed);
        let live = |(path, entry): (Bytes, Entry)| {
            let restless = if fault == Fault::AttributesChange {
                seen
            } else {
                0
            };
            let Entry {
                created,
                version,
                lease,
                ..
            } = entry;
            let attributes =
                format!("created {created} version {version} lease {lease} {restless}");
            Live {
                path,
                revision: entry.modified,
                value: entry.value,
                attributes: Attributes::new(attributes.into()),
            }
        };
        let is_told = |key: &Bytes| !RULES.is_control(key) || fault == Fault::SnapshotHasControl;
        let mut all: Vec<Live> = (state.into_iter())
            .filter(|(key, _)| is_told(key))
            .map(live)
            .collect();
        if fault == Fault::SnapshotLacks {
            all.pop();
        }
        stream::iter(match sent {
            Ok(()) => all.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static {
        let prefix = match self.fault {
            Fault::MirrorsMixUp => keys::directory(id),
            _ => keys::flat_mirror(id),
        };
        let state = self.store().state_at(self.store().revision());
        let entry = |(key, entry): (Bytes, Entry)| {
            let path = key.strip_prefix(prefix.as_bytes())?;
            let says = progress::parse_revision(&entry.value).ok().map(Revision);
            Some((Bytes::copy_from_slice(path), says))
        };
        let all: Vec<_> = state.into_iter().filter_map(entry).collect();
        stream::iter(match self.send() {
            Ok(()) => all.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    async fn leases(&self, known: &BTreeMap<i64, i64>) -> Result<Vec<LeaseFact>> {
        self.send()?;
        let alive = self.store().leases();
        let new = alive.iter().filter(|id| !known.contains_key(id));
        let gone = known.keys().filter(|id| !alive.contains(id));
        let fact = |granted_ttl| {
            move |id: &i64| LeaseFact {
                id: *id,
                granted_ttl,
            }
        };
        let mut facts: Vec<LeaseFact> = new.map(fact(Some(LEASE_TTL))).collect();
        if self.fault != Fault::KeepsLeases {
            facts.extend(gone.map(fact(None)));
        }
        Ok(facts)
    }

    async fn announcements(&self) -> Result<Announcements> {
        self.send()?;
        let mut all = Announcements::new();
        for id in 1..100 {
            let read = |key| self.store().get(&name(&Key::Control(key))).map(control);
            let said = crate::cluster::control::Announced {
                owner: read(ControlKey::Owner(id)),
                watermark: read(ControlKey::Watermark(id)),
                mirrored: read(ControlKey::Mirrored(id)),
            };
            let is_full = self.fault == Fault::AnnouncesOne && !all.is_empty();
            if said != Default::default() && !is_full {
                all.insert(id, said);
            }
        }
        Ok(all)
    }

    async fn read(&self, key: &ControlKey) -> Result<Option<Control>> {
        self.send()?;
        let key = name(&Key::Control(key.clone()));
        Ok(self.store().get(&key).map(control))
    }

    async fn apply(&self, writes: &[Write]) -> Result<Option<Revision>> {
        let asked = self.connection.asked.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::LosesOrder {
            for _ in asked % 64..64 {
                tokio::task::yield_now().await;
            }
        }
        self.send()?;
        self.refuse(writes)?;
        if self.refuses_neighbours(writes) {
            return Err(Error::Refused("too near".to_owned()));
        }
        let (revision, conflict) = self.store().transact(|live| {
            let conflict = self.conflict(live, writes);
            let half = self.fault == Fault::WritesHalf && writes.len() > 1;
            let writes = match conflict {
                None => writes,
                Some(_) if half => &writes[..1],
                Some(_) => &[],
            };
            (self.changes(live, writes), conflict)
        });
        if let Some(conflict) = conflict {
            return Err(Error::Conflict(conflict));
        }
        self.send()?;
        let is_delete = writes.iter().all(|write| write.value.is_none());
        if is_delete && self.fault == Fault::MiscountsDeletes {
            return Ok(revision.map(Revision::next));
        }
        Ok(revision)
    }

    async fn advance(&self) -> Result<()> {
        self.send()?;
        let times = if self.fault == Fault::AdvancesTwice {
            2
        } else {
            1
        };
        for _ in 0..times {
            let pad = (Bytes::from(keys::FLAT_PAD), Some(Bytes::new()), 0);
            self.store().transact(|_| (vec![pad], ()));
        }
        self.send()
    }

    fn load(&self, _state: impl IntoIterator<Item = Live>, _at: Revision) -> Result<()> {
        match self.fault {
            Fault::LoadsNothing => Ok(()),
            _ => Err(Error::Refused("it has keys of its own".to_owned())),
        }
    }
}

fn control(entry: Entry) -> Control {
    Control {
        revision: entry.modified,
        value: entry.value,
    }
}
