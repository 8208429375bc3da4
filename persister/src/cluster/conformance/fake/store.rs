//! The state of the cluster, and its whole history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use cairn_journal::Revision;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Names a lease; 0: none.
pub(super) type Lease = u64;

/// The seconds that each is granted.
pub(super) const LEASE_TTL: i64 = 5;

/// What a key has.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Bytes,
    pub(super) created: Revision,
    pub(super) modified: Revision,
    pub(super) version: u64,
    pub(super) lease: Lease,
}

/// What one revision did to a key.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) key: Bytes,
    /// `None`: it was deleted.
    pub(super) entry: Option<Entry>,
}

/// All that one revision did.
pub(super) type Events = Arc<[Event]>;

/// A consistent state, with the history that led to it.
pub(super) struct Snapshot {
    pub(super) live: BTreeMap<Bytes, Entry>,
    /// The revisions from the one that was asked for on.
    pub(super) history: Vec<(Revision, Events)>,
}

/// What a test does before each call of a session, and after each write.
#[derive(Default)]
pub(super) struct Between(Mutex<Option<Box<dyn FnMut() + Send>>>);

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

impl Between {
    pub(super) fn set(&self, what: Option<Box<dyn FnMut() + Send>>) {
        *self.0.lock().expect("no test panics in it") = what;
    }

    /// Does it, but not between what it does itself.
    pub(super) fn come(&self) {
        if let Ok(mut what) = self.0.try_lock()
            && let Some(what) = &mut *what
        {
            what();
        }
    }
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    pub(super) between: Between,
    /// Told whenever something has happened.
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    /// What each revision did; the first is number 1, and did nothing.
    revisions: Vec<Events>,
    /// The newest revision that cannot be asked for any more.
    forgotten: Revision,
    live: BTreeMap<Bytes, Entry>,
    connections: Vec<CancellationToken>,
    leases: Lease,
    /// Those that have not ended.
    alive: BTreeSet<Lease>,
    /// The newest revision that there ever was.
    highest: Revision,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                revisions: vec![Arc::default()],
                forgotten: Revision(0),
                live: BTreeMap::new(),
                connections: Vec::new(),
                leases: 0,
                alive: BTreeSet::new(),
                highest: Revision(1),
            }),
            between: Between::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Inner {
    fn revision(&self) -> Revision {
        Revision(i64::try_from(self.revisions.len()).expect("tests are short"))
    }

    fn from(&self, first: Revision) -> &[Events] {
        let before = usize::try_from(first.0 - 1).unwrap_or(0);
        self.revisions.get(before..).unwrap_or_default()
    }

    /// Consumes one revision with these changes.
    fn commit(&mut self, changes: Vec<(Bytes, Option<Bytes>, Lease)>) -> Revision {
        let revision = self.revision().next();
        let mut events = Vec::new();
        for (key, value, lease) in changes {
            let before = self.live.remove(&key);
            let entry = value.map(|value| Entry {
                value,
                created: before.as_ref().map_or(revision, |before| before.created),
                modified: revision,
                version: before.as_ref().map_or(1, |before| before.version + 1),
                lease,
            });
            if let Some(entry) = &entry {
                self.live.insert(key.clone(), entry.clone());
            }
            events.push(Event { key, entry });
        }
        self.revisions.push(events.into());
        self.highest = self.highest.max(revision);
        revision
    }
}

impl Store {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no test panics while it holds the store")
    }

    pub(super) fn revision(&self) -> Revision {
        self.inner().revision()
    }

    pub(super) fn highest(&self) -> Revision {
        self.inner().highest
    }

    pub(super) fn get(&self, key: &Bytes) -> Option<Entry> {
        self.inner().live.get(key).cloned()
    }

    /// `None` if `from` is forgotten; then also the oldest revision that is not.
    pub(super) fn snapshot(&self, from: Revision) -> Result<Snapshot, Revision> {
        let inner = self.inner();
        if from <= inner.forgotten {
            return Err(inner.forgotten.next());
        }
        let history = inner.from(from).iter().cloned();
        Ok(Snapshot {
            live: inner.live.clone(),
            history: history
                .zip(from.0..)
                .map(|(events, n)| (Revision(n), events))
                .collect(),
        })
    }

    /// The state that there was at `at`.
    pub(super) fn state_at(&self, at: Revision) -> BTreeMap<Bytes, Entry> {
        let inner = self.inner();
        let kept = usize::try_from(at.0)
            .unwrap_or(0)
            .min(inner.revisions.len());
        replayed(&inner.revisions[..kept])
    }

    /// Lets `decide` say what is written, looking at what there is; then writes it.
    pub(super) fn transact<T>(
        &self,
        decide: impl FnOnce(&BTreeMap<Bytes, Entry>) -> (Vec<(Bytes, Option<Bytes>, Lease)>, T),
    ) -> (Option<Revision>, T) {
        let mut inner = self.inner();
        let (changes, other) = decide(&inner.live);
        let revision = (!changes.is_empty()).then(|| inner.commit(changes));
        drop(inner);
        self.changed.send_replace(());
        (revision, other)
    }

    /// A new connection: its end, and its lease.
    pub(super) fn connect(&self) -> (CancellationToken, Lease) {
        let (mut inner, ended) = (self.inner(), CancellationToken::new());
        inner.leases += 1;
        inner.connections.push(ended.clone());
        let lease = inner.leases;
        inner.alive.insert(lease);
        (ended, lease)
    }

    /// The leases that have not ended.
    pub(super) fn leases(&self) -> BTreeSet<i64> {
        let inner = self.inner();
        inner.alive.iter().map(|lease| number(*lease)).collect()
    }

    /// Deletes all keys of a lease in one revision.
    pub(super) fn expire(&self, lease: Lease) {
        self.inner().alive.remove(&lease);
        self.transact(|live| {
            let keys = live.iter().filter(|(_, entry)| entry.lease == lease);
            (keys.map(|(key, _)| (key.clone(), None, 0)).collect(), ())
        });
    }

    pub(super) fn cut(&self) {
        for connection in std::mem::take(&mut self.inner().connections) {
            connection.cancel();
        }
    }

    pub(super) fn forget(&self) {
        let mut inner = self.inner();
        inner.forgotten = inner.revision().previous();
    }

    pub(super) fn roll_back(&self, to: Revision) {
        self.cut();
        let mut inner = self.inner();
        inner.revisions.truncate(usize::try_from(to.0).unwrap_or(0));
        inner.live = replayed(&inner.revisions);
    }
}

/// A lease as others name it.
pub(super) fn number(lease: Lease) -> i64 {
    i64::try_from(lease).expect("tests are short")
}

fn replayed(revisions: &[Events]) -> BTreeMap<Bytes, Entry> {
    let mut live = BTreeMap::new();
    for event in revisions.iter().flat_map(|events| events.iter()) {
        match &event.entry {
            Some(entry) => live.insert(event.key.clone(), entry.clone()),
            None => live.remove(&event.key),
        };
    }
    live
}
