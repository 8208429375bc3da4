//! One connection to one member as a [`Session`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_etcd::ErrorKind;
use cairn_etcd::wire::{
    Call, KeyValue, LeaseGrantRequest, LeaseTimeToLiveRequest, RangeRequest, TxnRequest,
};
use cairn_etcd_snapshot::KeyAttributes;
use cairn_journal::Revision;
use cairn_protocol::{keys, progress};
use futures::{Stream, TryStreamExt};

use crate::cluster::capabilities::{Capabilities, Guard, Limits, Liveness, Restores, WriteRates};
use crate::cluster::control::{Announced, Announcements, Control, ControlKey, Id};
use crate::cluster::error::{Error, Result};
use crate::cluster::etcd::attributes::attributes_of;
use crate::cluster::etcd::follow::follow;
use crate::cluster::etcd::granted::Granted;
use crate::cluster::etcd::lease::{EXPIRES_AFTER, KEPT_EVERY, KeptAlive, LEASE_TIME, OwnerLease};
use crate::cluster::etcd::listing::{everything, list};
use crate::cluster::etcd::names::{RULES, control, id_of};
use crate::cluster::etcd::publish::{Bound, VALUE_BYTES, WRITES, pad, refuse, transaction};
use crate::cluster::etcd::spool::Spool;
use crate::cluster::etcd::term::{LEADER_CHANGED, Term};
use crate::cluster::followed::{Attributes, Followed, LeaseFact, Live};
use crate::cluster::rules::KeyRules;
use crate::cluster::session::Session;
use crate::cluster::write::{Key, Write};

/// A restore by writes, measured on a member without fsync: a transaction at a time, and writes of
/// one key that nobody need wait for in turn. A million revisions are about two minutes, and some
/// 200 MB of the database.
const RATES: WriteRates = WriteRates {
    writes: 1_700,
    fillers: 8_000,
    most_fillers: 1_000_000,
};

/// A connection to one member.
#[derive(Clone, Debug)]
pub struct EtcdSession {
    shared: Arc<Shared>,
    fence: Option<Bytes>,
}

/// What all clones have in common.
#[derive(Debug)]
struct Shared {
    session: cairn_etcd::Session,
    id: Id,
    spool: Option<Spool>,
    lease: OwnerLease,
    granted: Arc<Granted>,
    term: Term,
    /// Leases of keys that are being restored.
    kept_alive: KeptAlive,
    /// Whether this session wrote the owner key of its id last.
    owns: AtomicBool,
}

impl EtcdSession {
    pub(super) fn new(session: cairn_etcd::Session, id: Id, spool: Option<Spool>) -> Self {
        Self {
            shared: Arc::new(Shared {
                session,
                id,
                spool,
                lease: OwnerLease::default(),
                granted: Arc::default(),
                term: Term::default(),
                kept_alive: KeptAlive::default(),
                owns: AtomicBool::new(false),
            }),
            fence: None,
        }
    }

    /// One call. A session that has once been without an answer is over.
    async fn call<R: Call>(&self, request: R) -> Result<R::Response> {
        let answered = self.shared.session.call(request).await;
        answered.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: cairn_etcd::Error) -> Error {
        let error = Error::from(error);
        if matches!(error, Error::Unavailable(_)) {
            self.shared.session.close(&error.to_string());
        }
        error
    }

    fn bound(&self) -> Bound<'_> {
        let Shared {
            id, lease, owns, ..
        } = &*self.shared;
        let lease = lease.id().filter(|_| owns.load(Ordering::Acquire));
        Bound {
            identity: self.fence.as_ref(),
            owner: lease.map(|lease| (*id, lease)),
        }
    }

    async fn transact(&self, txn: TxnRequest) -> Result<Option<Revision>> {
        let Shared { session, term, .. } = &*self.shared;
        let answer = tokio::select! {
            biased;
            answer = self.call(txn) => answer?,
            () = term.is_over(session) => {
                session.close(LEADER_CHANGED);
                return Err(Error::Unavailable(LEADER_CHANGED.to_owned()));
            }
        };
        term.note(answer.header.as_ref());
        self.bound().judge(&answer)
    }

    async fn get(&self, key: Bytes) -> Result<Option<Control>> {
        let answer = self.call(RangeRequest::key(key)).await?;
        Ok(answer.kvs.into_iter().next().map(as_control))
    }
}

impl Session for EtcdSession {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writes_per_revision: WRITES,
            guard: Guard::Identity,
            liveness: Liveness::Leased {
                every: KEPT_EVERY,
                expires_after: EXPIRES_AFTER,
            },
            may_roll_back: true,
            tells_control: true,
            tells_leases: true,
            mirrors_paths: false,
            loads: false,
            holds_back: false,
            restores: Restores::Files(RATES),
            leases: true,
        }
    }

    fn rules(&self) -> KeyRules {
        RULES
    }

    /// No member tells its limits; these are the defaults.
    async fn limits(&self) -> Result<Limits> {
        Ok(Limits {
            value_bytes: VALUE_BYTES,
            most_value_bytes: usize::MAX,
            key_bytes: VALUE_BYTES,
            key_names: usize::MAX,
            // A request has 64 KiB more than a value: room for its key.
            revision_bytes: VALUE_BYTES + (8 << 10),
            // Calls under way together are applied in any order.
            in_order: false,
        })
    }

    fn fenced(&self, identity: &Bytes) -> Self {
        Self {
            fence: Some(identity.clone()),
            ..self.clone()
        }
    }

    async fn revision(&self) -> Result<Revision> {
        let request = RangeRequest {
            keys_only: true,
            // Linearizable: a majority has said that nothing newer is acknowledged.
            serializable: false,
            ..RangeRequest::key(control(&ControlKey::Identity))
        };
        let header = self.call(request).await?.header;
        let header = header.ok_or_else(|| Error::Unavailable("an answer has no revision".into()));
        Ok(Revision(header?.revision))
    }

    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
        let Shared {
            session,
            id,
            spool,
            granted,
            ..
        } = &*self.shared;
        let granted = Arc::clone(granted);
        follow(session.clone(), *id, granted, spool.clone(), from)
    }

    fn snapshot(&self, at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static {
        let Shared {
            session,
            spool,
            granted,
            ..
        } = &*self.shared;
        let granted = Arc::clone(granted);
        let keys = everything(session.clone(), granted, spool.clone(), at.0);
        Box::pin(keys.try_filter_map(async |key| {
            Ok((!RULES.is_control(&key.key)).then(|| Live {
                revision: Revision(key.mod_revision),
                attributes: Attributes::new(attributes_of(&key).to_bytes()),
                path: key.key,
                value: key.value,
            }))
        }))
    }

    /// A listing does not tell the number of a put within its revision.
    fn same_attributes(&self, a: &Bytes, b: &Bytes) -> bool {
        let of = |bytes| KeyAttributes::from_bytes(bytes).map(KeyAttributes::unnumbered);
        a == b || of(a).is_some_and(|a| Some(a) == of(b))
    }

    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static {
        let prefix = Bytes::from(keys::flat_mirror(id));
        let entries = list(
            self.shared.session.clone(),
            RangeRequest::prefix(prefix.clone()),
            0,
        );
        entries.map_ok(move |entry| {
            let says = progress::parse_revision(&entry.value).ok().map(Revision);
            (entry.key.slice(prefix.len()..), says)
        })
    }

    async fn leases(&self, known: &BTreeMap<i64, i64>) -> Result<Vec<LeaseFact>> {
        let Shared {
            session, granted, ..
        } = &*self.shared;
        granted.compared(session, known).await
    }

    async fn announcements(&self) -> Result<Announcements> {
        let mut all = Announcements::new();
        let mut range = RangeRequest {
            limit: 1,
            keys_only: true,
            ..RangeRequest::prefix(keys::FLAT_ROOT)
        };
        // From one persister's directory to the next: what lies in one may be a mirror of a million
        // keys.
        while let Some(found) = self.call(range.clone()).await?.kvs.pop() {
            let Some(id) = id_of(&found.key) else {
                range.key = [&found.key[..], b"\0"].concat().into();
                continue;
            };
            let said = Announced {
                owner: self.read(&ControlKey::Owner(id)).await?,
                watermark: self.read(&ControlKey::Watermark(id)).await?,
                mirrored: self.read(&ControlKey::Mirrored(id)).await?,
            };
            if said != Announced::default() {
                all.insert(id, said);
            }
            let directory = keys::directory(id);
            range.key = RangeRequest::prefix(format!("{directory}/")).range_end;
        }
        Ok(all)
    }

    async fn silent_for(&self, id: Id) -> Result<Option<Duration>> {
        let key = control(&ControlKey::Owner(id));
        let owner = self.call(RangeRequest::key(key)).await?.kvs.pop();
        let Some(lease) = owner.map(|owner| owner.lease).filter(|lease| *lease != 0) else {
            return Ok(None);
        };
        let asked = LeaseTimeToLiveRequest {
            id: lease,
            keys: false,
        };
        let left = self.call(asked).await?;
        // One that is gone by now had no time left.
        let granted = left.granted_ttl.max(seconds(LEASE_TIME));
        let silent = u64::try_from(granted - left.ttl.max(0)).unwrap_or(0);
        Ok(Some(Duration::from_secs(silent)))
    }

    async fn read(&self, key: &ControlKey) -> Result<Option<Control>> {
        self.get(control(key)).await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Option<Revision>> {
        refuse(writes)?;
        let Shared {
            session,
            id,
            lease,
            owns,
            ..
        } = &*self.shared;
        let owner = |write: &&Write| matches!(write.key, Key::Control(ControlKey::Owner(_)));
        let lease = match writes.iter().find(owner) {
            Some(write) if write.value.is_some() => Some(lease.get(session).await?),
            _ => None,
        };
        let revision = self
            .transact(transaction(writes, self.bound(), lease))
            .await?;
        let own = |write: &&Write| write.key == Key::Control(ControlKey::Owner(*id));
        if let Some(write) = writes.iter().find(own) {
            owns.store(write.value.is_some(), Ordering::Release);
        }
        Ok(revision)
    }

    async fn grant(&self, leases: &[(i64, i64)]) -> Result<()> {
        for &(id, ttl) in leases {
            match self
                .shared
                .session
                .call(LeaseGrantRequest { ttl, id })
                .await
            {
                Err(error) if error.kind() == ErrorKind::LeaseExists => {}
                granted => drop(granted.map_err(|error| self.failed(error))?),
            }
        }
        self.shared.kept_alive.keep(&self.shared.session, leases);
        Ok(())
    }

    async fn advance(&self) -> Result<()> {
        self.transact(pad(keys::FLAT_PAD, self.bound())).await?;
        Ok(())
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn as_control(key: KeyValue) -> Control {
    Control {
        revision: Revision(key.mod_revision),
        value: key.value,
    }
}
