//! The thread in which there is time to work ahead.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use crate::write::prepare::{Prepare, locked};

/// The background thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Preparer {
    prepare: Arc<Prepare>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    pub(crate) fn start(prepare: Arc<Prepare>) -> Self {
        let work = prepare.clone();
        let thread = std::thread::Builder::new()
            .name("journal-prepare".to_owned())
            .spawn(move || {
                while !work.stop.load(Ordering::Relaxed) {
                    work.work();
                    std::thread::park();
                }
            })
            .inspect_err(|error| tracing::warn!(%error, "nothing is prepared ahead"))
            .ok();
        *locked(&prepare.thread) = thread.as_ref().map(|t| t.thread().clone());
        Self { prepare, thread }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.prepare.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
