//! Writes a watermark when nothing else was written for a while, so that the last acknowledged
//! record is known to have been acknowledged.
//!
//! A thread of its own that looks once per period. It is never on the way of a commit, and an idle
//! journal costs one look per period and no write.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use crate::{model::ids::Sequence, write::writer::Writer};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Idle {
    pub(crate) fn start(shared: Arc<Writer>, after: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal-idle".to_owned())
            .spawn(move || {
                let mut seen = Sequence::NONE;
                while stopped.recv_timeout(after) == Err(mpsc::RecvTimeoutError::Timeout) {
                    match shared.watermark_if_idle(seen) {
                        Ok(durable) => seen = durable,
                        // Poisoned: whoever commits is told.
                        Err(_) => return,
                    }
                }
            });
        Self {
            stop: Some(stop),
            // Without the thread the journal is whole, only its last record has no witness.
            thread: thread
                .inspect_err(|error| tracing::warn!(%error, "no idle watermarks"))
                .ok(),
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
