//! One persister as this client sees it, shared by the task that follows it and all writes in
//! flight.
//!
//! The follower tells what it reads and sees; a write registers its interest, and waits.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::core::liveness::{Heartbeats, Liveness};
use crate::core::progress::{Observed, Progress, Source};
use crate::core::revision::Revision;
use crate::core::target::Target;
use crate::core::waiters::{Key, Waiters, Word, word};

/// After this long without a confirmation, the client checks whether the watermark is a leftover:
/// the persister may have been replaced by one that writes only the mirror. Many times what a disk
/// takes.
pub(crate) const SUSPICION: Duration = Duration::from_secs(1);

/// One persister.
#[derive(Debug)]
pub(crate) struct Persister {
    pub(crate) id: u32,
    state: Mutex<State>,
    nudge: Notify,
    /// A write has come that must be told before all that came before it.
    waited_for: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody tells the writes that wait for longer than is usual.
    attended: bool,
    /// Since when the oldest of them waits, as far as that one knows; `None`: it knows of none.
    watched: Option<Instant>,
    progress: Progress,
    waiters: Waiters,
    heartbeats: Heartbeats,
    heard: Option<Instant>,
    /// What the cluster behind `progress.connection` calls itself.
    cluster: Option<Bytes>,
    /// A write waits in vain for the watermark. It may be a leftover of an earlier persister, while
    /// the present one writes only the mirror.
    suspected: bool,
}

/// The present, as it is read over a new connection before changes are followed.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) connection: u64,
    pub(crate) watermark: Option<Revision>,
    /// The revision of the owner key.
    pub(crate) owner: Option<Revision>,
    /// What the cluster calls itself.
    pub(crate) cluster: Option<Bytes>,
}

/// A persister's progress and liveness at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) watermark: Option<Revision>,
    /// How long ago it last said anything.
    pub(crate) heard: Option<Duration>,
    pub(crate) liveness: Liveness,
}

/// Takes a waiter out of the queue when its wait ends, however it ends.
struct Waiting<'a> {
    persister: &'a Persister,
    /// `None`: it was taken out already.
    key: Option<Key>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.persister.state().waiters.remove(key);
        }
    }
}

/// Somebody [attends](Persister::attend). When that ends, however it ends, nobody waits unattended.
struct Attendance<'a>(&'a Persister);

impl<'a> Attendance<'a> {
    fn begin(persister: &'a Persister) -> Self {
        persister.state().attended = true;
        Self(persister)
    }
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.attended = false;
        state.waiters.late(Instant::now());
    }
}

impl Persister {
    pub(crate) fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::default(),
            nudge: Notify::new(),
            waited_for: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// Waits until it is proven, over this connection, that the target is on disk. `since`: when it
    /// was answered, if the wait is to end once it takes longer than is usual.
    pub(crate) async fn wait(
        &self,
        connection: u64,
        target: &Target,
        since: Option<Instant>,
    ) -> Word {
        let (mut waiting, told) = {
            let mut state = self.state();
            if let Some(word) = word(&state.progress, connection, target) {
                return word;
            }
            if let Some(since) = since {
                if !state.attended {
                    return Word::Late;
                }
                // What it took to find a delete counts, so one that comes later may be older.
                if state.watched.is_none_or(|oldest| since < oldest) {
                    state.watched = Some(since);
                    self.waited_for.notify_one();
                }
            }
            let (key, told) = state.waiters.add(connection, target.clone(), since);
            let waiting = Waiting {
                persister: self,
                key: Some(key),
            };
            (waiting, told)
        };
        let word = told
            .await
            .expect("whoever is taken out of the queue by another is told why");
        waiting.key = None;
        word
    }

    /// Tells the writes that have waited for [`SUSPICION`], for as long as this is polled. One
    /// timer for all of them: nearly every write is on disk long before it needs one.
    pub(crate) async fn attend(&self) -> Infallible {
        let _attendance = Attendance::begin(self);
        loop {
            let oldest = {
                let mut state = self.state();
                let oldest = state.waiters.oldest();
                state.watched = oldest;
                oldest
            };
            let older = self.waited_for.notified();
            match oldest {
                None => older.await,
                Some(since) => {
                    if timeout_at(since + SUSPICION, older).await.is_err() {
                        self.state().waiters.late(Instant::now() - SUSPICION);
                    }
                }
            }
        }
    }

    /// Reports that a write has waited longer for this watermark than is usual.
    pub(crate) fn suspect(&self) {
        let mut state = self.state();
        let narrow = state.progress.source == Source::Watermark;
        if narrow && !state.suspected {
            state.suspected = true;
            self.nudge.notify_one();
        }
    }

    /// Ends once the watermark is suspected; [`Persister::begin`] looks into it.
    pub(crate) async fn suspected(&self) {
        loop {
            self.nudge.notified().await;
            if self.state().suspected {
                return;
            }
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.state().progress.source
    }

    pub(crate) fn watermark(&self) -> Option<Revision> {
        self.state().progress.watermark
    }

    /// What the cluster behind this connection calls itself, if that was read.
    pub(crate) fn cluster_over(&self, connection: u64) -> Option<Bytes> {
        let state = self.state();
        let same = state.progress.connection == connection;
        state.cluster.clone().filter(|_| same)
    }

    pub(crate) fn known(&self, now: Instant) -> Known {
        let state = self.state();
        let heard = state.heard;
        Known {
            watermark: state.progress.watermark,
            heard: heard.map(|heard| now.saturating_duration_since(heard)),
            liveness: state.heartbeats.liveness(now),
        }
    }

    /// From now on, remembers what the mirror of the path shows, until the guard is dropped.
    pub(crate) fn interest(self: &Arc<Self>, path: &str) -> Interest {
        self.state().progress.register(path);
        Interest {
            persister: Arc::clone(self),
            path: path.to_owned(),
        }
    }

    /// As [`interest`](Self::interest), where the mirror is followed; else `None`. Where the
    /// watermark is all that is followed, a write needs it only if that does not come.
    pub(crate) fn interest_in_mirror(self: &Arc<Self>, path: &str) -> Option<Interest> {
        let is_followed = self.source() != Source::Watermark;
        is_followed.then(|| self.interest(path))
    }

    /// The paths whose mirrors are remembered.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.state().progress.paths()
    }

    /// Takes in what was read over a new connection; returns what is to be followed from now on.
    pub(crate) fn begin(&self, now: Instant, present: Present) -> Source {
        let state = &mut *self.state();
        let suspected = std::mem::take(&mut state.suspected);
        let source = match present.watermark {
            Some(_) if !suspected => Source::Watermark,
            _ => Source::Mirror,
        };
        state
            .progress
            .begin(present.connection, source, present.watermark);
        state.waiters.begun(&state.progress);
        state.heartbeats.read(now, present.owner);
        state.cluster = present.cluster;
        source
    }

    /// The persister has written something.
    pub(crate) fn heard(&self, now: Instant) {
        self.state().heard = Some(now);
    }

    /// The owner key was set at this revision.
    pub(crate) fn beat(&self, now: Instant, at: Revision) {
        self.state().heartbeats.beat(now, at);
    }

    /// The owner key was deleted.
    pub(crate) fn released(&self, now: Instant) {
        self.state().heartbeats.released(now);
    }

    /// The watermark was set: tells all writes that it satisfies, some at a time.
    pub(crate) async fn raise(&self, watermark: Revision) {
        tracing::trace!(name: "watermark raised", target: "stage", "");
        self.state().progress.raise(watermark);
        while self.tell_some() {
            tokio::task::yield_now().await;
        }
    }

    /// Tells some of the writes that the watermark satisfies; whether there are more.
    fn tell_some(&self) -> bool {
        let state = &mut *self.state();
        state.waiters.raised(&state.progress)
    }

    /// At the cluster's revision `at`, the mirror of the path shows this.
    pub(crate) fn observe(&self, path: &str, at: Revision, shown: Option<Revision>, how: Observed) {
        let state = &mut *self.state();
        if state.progress.observe(path, at, shown, how) {
            state.waiters.observed(&state.progress, path);
        }
    }
}

/// Keeps a path's mirror remembered. Dropping it, also with the write that holds it, ends that.
#[derive(Debug)]
pub(crate) struct Interest {
    persister: Arc<Persister>,
    path: String,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.persister.state().progress.release(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_wait_that_is_dropped_leaves_the_queue() {
        let persister = Persister::new(1);
        let target = Target::All(Revision(10));
        let wait = persister.wait(1, &target, None);
        let waited = tokio::time::timeout(Duration::from_millis(1), wait).await;
        assert!(waited.is_err());
        assert_eq!(persister.state().waiters.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_takes_longer_than_is_usual_is_told_so() {
        let persister = Persister::new(1);
        let (first, second) = (Target::All(Revision(10)), Target::All(Revision(11)));
        let begun = Instant::now();
        let patient = persister.wait(1, &first, None);
        let writes = async {
            let first = persister.wait(1, &first, Some(begun)).await;
            let after_first = begun.elapsed();
            // While it is attended to already, and so after another one has been told.
            let later = Instant::now();
            let second = persister.wait(1, &second, Some(later)).await;
            (first, after_first, second, later.elapsed())
        };
        let told = tokio::select! {
            biased;
            never = persister.attend() => match never {},
            word = patient => panic!("told {word:?}"),
            told = writes => told,
        };
        let millisecond = Duration::from_millis(1);
        let (first, after_first, second, after_second) = told;
        assert_eq!((first, second), (Word::Late, Word::Late));
        for after in [after_first, after_second] {
            assert!(
                (SUSPICION..=SUSPICION + millisecond).contains(&after),
                "{after:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_later_and_has_waited_longer_is_told_first() {
        let persister = Persister::new(1);
        let target = Target::All(Revision(10));
        let begun = Instant::now();
        let mut attending = Box::pin(persister.attend());
        assert!(attending.as_mut().now_or_never().is_none());
        let longer = async {
            tokio::time::sleep(SUSPICION / 2).await;
            let younger = persister.wait(1, &target, Some(Instant::now()));
            let older = async {
                tokio::time::sleep(SUSPICION / 4).await;
                let word = persister.wait(1, &target, Some(begun)).await;
                (word, begun.elapsed())
            };
            tokio::select! {
                biased;
                word = younger => panic!("told {word:?}"),
                told = older => told,
            }
        };
        let (word, after) = tokio::select! {
            never = attending => match never {},
            told = longer => told,
        };
        assert_eq!(word, Word::Late);
        let millisecond = Duration::from_millis(1);
        assert!(after <= SUSPICION + millisecond, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_unattended_for_what_may_never_come() {
        let persister = Persister::new(1);
        let target = Target::All(Revision(10));
        let now = Some(Instant::now());
        assert_eq!(persister.wait(1, &target, now).await, Word::Late);
        let mut attending = Box::pin(persister.attend());
        assert!(attending.as_mut().now_or_never().is_none());
        let mut waiting = std::pin::pin!(persister.wait(1, &target, now));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(attending);
        assert_eq!(waiting.await, Word::Late);
    }

    #[test]
    fn interest_ends_with_its_guard() {
        let persister = Persister::new(1);
        let first = persister.interest("/a");
        let second = persister.interest("/a");
        drop(first);
        assert_eq!(persister.state().progress.paths(), ["/a"]);
        drop(second);
        assert!(persister.state().progress.paths().is_empty());
    }
}
