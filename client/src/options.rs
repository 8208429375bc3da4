//! How a client behaves: deadlines, limits, windows.

use std::time::Duration;

use crate::frame::MAX_FRAME;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::uri::Uri;

/// Settings of a [`Client`](crate::Client), each with a default that suits a cluster on a local
/// network.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time for one request, from the first poll of its future to the answer, queueing and
    /// retries included. Requests that may block in the server (WAIT, reads at a given revision)
    /// have none: drop their futures. Default: 5 s.
    pub request_timeout: Duration,
    /// The time to connect to one address, secret and first answer included. Default: 5 s.
    pub connect_timeout: Duration,
    /// The largest frame to send or accept, in bytes. Default: [`MAX_FRAME`].
    pub max_frame: usize,
    /// A server that is silent for this long is probed. Once it has been silent for
    /// [`Options::silence`], the connection counts as lost. Default: 2.5 s.
    pub keepalive: Duration,
    /// The WAITs that a [`Watch`](crate::Watch) keeps in flight, and so the most events that it
    /// holds in memory. Default: 64.
    pub watch_window: usize,
    /// About how many bytes of events a [`Watch`](crate::Watch) holds in memory: it keeps so few
    /// WAITs in flight that events as large as the largest of late do not exceed this. Default:
    /// 64 MiB.
    pub watch_bytes: usize,
    /// The entries that a listing asks for ahead. Default: 64.
    pub list_window: usize,
    /// The most requests with a deadline that may be unanswered on the connection; further ones
    /// wait for their turn. Bounds the memory of both ends. Default: 1,024.
    pub max_in_flight: usize,
    /// The most requests without a deadline that may be unanswered: those that may block in the
    /// server. They are counted apart, since waiting for events must not hold up other requests.
    /// Default: 16,384.
    pub max_waits: usize,
    /// The pause before trying all addresses again, after every one of them failed; it doubles
    /// up to [`Options::backoff_max`], and each is cut at random by up to half so that many
    /// clients do not come back in step. Default: 50 ms.
    pub backoff_min: Duration,
    /// The longest such pause. Default: 5 s.
    pub backoff_max: Duration,
    /// Whether a connection that ended is replaced by another. If not, all calls and streams end
    /// with the first connection: for callers that must check the cluster before they go on.
    /// Default: true.
    pub reconnect: bool,
    /// The address that is tried first, counted from 0, modulo their number. For callers that
    /// replace a client and want another node. Default: 0.
    pub first_address: usize,
    /// Where the name of a cluster is looked up, if the URI has one. Default: none, which means
    /// the environment variable `DOOZER_BOOT_URI`.
    pub boot: Option<Uri>,
    /// Encrypt every connection, and trust these. Default: none, plain TCP.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

/// The longest duration: added to any time, it is still a time that a clock can show.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

impl Options {
    /// How long a server may be silent before its connection counts as lost: as long as for a
    /// request, and as for a probe to be sent and answered. A halted node is so left by a client
    /// that only waits as soon as by one that asks.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.request_timeout.max(self.keepalive.saturating_mul(2))
    }

    /// Shortens durations such as [`Duration::MAX`] to the longest that a clock can show.
    pub(crate) fn bounded(mut self) -> Self {
        for time in [
            &mut self.request_timeout,
            &mut self.connect_timeout,
            &mut self.keepalive,
            &mut self.backoff_min,
            &mut self.backoff_max,
        ] {
            *time = (*time).min(FOR_EVER);
        }
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            max_frame: MAX_FRAME,
            keepalive: Duration::from_millis(2_500),
            watch_window: 64,
            watch_bytes: 64 << 20,
            list_window: 64,
            max_in_flight: 1_024,
            max_waits: 16_384,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            reconnect: true,
            first_address: 0,
            boot: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}
