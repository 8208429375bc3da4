//! Tells the service manager, if one has started us: ready, alive, ending.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::observe::vitals::Vitals;

/// How often to look, if the service manager has not asked for a watchdog.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For how long one message asks for more time to start, which a slow restore may need. Sent again
/// and again, long before that has passed.
const MORE_TIME: Duration = Duration::from_secs(60);

/// Tells the service manager until `cancel`, and at once when the end is `asked` for. The watchdog
/// is fed only while the journal makes progress or has nothing to do: a stuck disk ends in a
/// restart, an idle cluster does not. Until it is ready, the start may take as long as it takes.
pub async fn notify(vitals: Arc<Vitals>, asked: CancellationToken, cancel: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK_EVERY, |limit| (limit / 3).min(LOOK_EVERY));
    let (mut ready, mut stopping) = (false, false);
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = asked.cancelled(), if !stopping => {
                stopping = true;
                tell(&[NotifyState::Stopping]);
            }
            () = tokio::time::sleep(every) => {}
        }
        let status = vitals.status();
        if status.connected && !ready {
            ready = true;
            tell(&[NotifyState::Ready]);
        }
        if !ready && !stopping {
            let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
            tell(&[NotifyState::ExtendTimeoutUsec(more)]);
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
