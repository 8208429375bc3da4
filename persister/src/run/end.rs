//! How a persister is asked to end, why it ends, and how long that may take.
//!
//! Promise: the reason is told before anything is waited for, once, and each wait of an end has a
//! deadline.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::observe::log;

/// How long an end may take in all, however many of its parts hang.
const WHOLE_END: Duration = Duration::from_secs(15);

/// The end of one persister.
#[derive(Debug, Default)]
pub struct End {
    asked: CancellationToken,
    begun: CancellationToken,
    status: OnceLock<u8>,
}

impl End {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled by whoever wants the persister to end in good order.
    #[must_use]
    pub fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// The persister ends because of `error`: tells it, if nothing was told before. Returns the
    /// exit status.
    pub fn because(&self, error: &Error) -> u8 {
        *self.status.get_or_init(|| {
            log::tell(format_args!("{error}"));
            self.begun.cancel();
            error.exit_status()
        })
    }

    /// The exit status, if there is a reason to end.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        self.status.get().copied()
    }

    /// Returns when the end has taken too long.
    pub async fn overdue(&self) {
        tokio::select! {
            () = self.asked.cancelled() => {}
            () = self.begun.cancelled() => {}
        }
        tokio::time::sleep(WHOLE_END).await;
    }
}
