//! Tasks that write to a cluster, until the test has seen enough.
//!
//! Promise: a writer that ends before it is told to is noticed, by [`Writers::progress`] and
//! [`Writers::none_gave_up`]; and one that never ends is, by [`Writers::end`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::process::DEADLINE;
use crate::waits::eventually;

/// What a writer is told, and tells.
#[derive(Clone, Debug, Default)]
pub struct Writing {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Writing {
    /// Whether to write on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One more is done.
    pub fn did_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Running writers, each of which returns a `T`.
#[derive(Debug)]
pub struct Writers<T> {
    writing: Writing,
    tasks: Vec<JoinHandle<Result<T>>>,
}

impl<T> Default for Writers<T> {
    fn default() -> Self {
        Self {
            writing: Writing::default(),
            tasks: Vec::new(),
        }
    }
}

impl<T: Send + 'static> Writers<T> {
    /// Starts one more. It is to end soon after [`Writing::goes_on`] has become false.
    pub fn start<F>(&mut self, write: impl FnOnce(Writing) -> F)
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.tasks.push(tokio::spawn(write(self.writing.clone())));
    }

    /// Fails if one of them has ended by itself.
    pub fn none_gave_up(&self) -> Result<()> {
        let gave_up = self.tasks.iter().any(JoinHandle::is_finished);
        ensure!(!gave_up, "a writer gave up");
        Ok(())
    }

    /// Waits until they have done so many more, all of them together.
    pub async fn progress(&self, more: usize) -> Result<()> {
        let done = || self.writing.done.load(Ordering::Relaxed);
        let goal = done() + more;
        eventually("writes go on", || async {
            self.none_gave_up()?;
            Ok((done() >= goal).then_some(()))
        })
        .await
    }

    /// Tells them to end.
    pub fn stop(&self) {
        self.writing.over.store(true, Ordering::Relaxed);
    }

    /// Tells them to end, and waits for it. What each of them returned, in the order of their
    /// start.
    pub async fn end(self) -> Result<Vec<T>> {
        self.stop();
        let mut returned = Vec::new();
        for task in self.tasks {
            let ended = tokio::time::timeout(DEADLINE, task).await;
            returned.push(ended.context("a writer waits in vain")???);
        }
        Ok(returned)
    }
}
