//! The end of a connection, known to everything that uses it.

use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::sync::watch;

/// Whether the connection has ended, and why.
#[derive(Clone, Debug)]
pub(crate) struct End(Arc<watch::Sender<Option<Arc<str>>>>);

impl End {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Why it has ended; `None` while it has not.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Ends it. The first reason stays.
    pub(crate) fn end(&self, reason: &str) {
        self.0.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert_with(|| reason.into());
            is_first
        });
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        let mut receiver = self.0.subscribe();
        // An error would be that there is no sender left, and we hold one.
        let _ = receiver.wait_for(Option::is_some).await;
    }
}

/// Runs the tasks of a connection, none beyond its end: the socket is closed then.
#[derive(Clone, Debug)]
pub(crate) struct Tasks(pub(crate) End);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let end = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = task => {}
                () = end.ended() => {}
            }
        });
    }
}
