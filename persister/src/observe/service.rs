//! Tells the service manager, if one has started us: ready, alive, ending.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::observe::vitals::Vitals;

/// How often to look, if the service manager has not asked for a watchdog.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells the service manager until `cancel`. The watchdog is fed only while the journal makes
/// progress or has nothing to do: a stuck disk ends in a restart, an idle cluster does not.
pub async fn notify(vitals: Arc<Vitals>, cancel: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK_EVERY, |limit| limit / 3);
    let mut ready = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(every) => {}
        }
        let status = vitals.status();
        if status.connected && !ready {
            ready = true;
            tell(&[NotifyState::Ready]);
        }
        let line = format!(
            "revision {} on disk, {} behind{}",
            status.durable_revision,
            status.lag_revisions,
            if status.connected {
                ""
            } else {
                ", not attached"
            }
        );
        tell(&[NotifyState::Status(&line)]);
        if watchdog.is_some() && vitals.is_live() {
            tell(&[NotifyState::Watchdog]);
        }
    }
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
