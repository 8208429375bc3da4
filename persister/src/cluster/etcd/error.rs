//! What an error of etcd means for a session.

use cairn_etcd::ErrorKind;

use crate::cluster::error::Error;

/// What to do about a database that takes no writes.
const NO_SPACE: &str =
    "the cluster's database is over its quota: compact, defragment, then `etcdctl alarm disarm`";

impl From<cairn_etcd::Error> for Error {
    fn from(error: cairn_etcd::Error) -> Self {
        match error.kind() {
            ErrorKind::Compacted(_) => Self::HistoryDiscarded,
            // Somebody must make room; until then the cluster is as good as away.
            ErrorKind::NoSpace => Self::Unavailable(format!("{error}; {NO_SPACE}")),
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Self::Refused(format!(
                "{error}; a persister's role reads all keys and writes those below \
                 {} (docs/etcd.md has the commands)",
                cairn_protocol::keys::FLAT_ROOT
            )),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::LeaseNotFound => {
                Self::Unavailable(error.to_string())
            }
            // A member behind the others, or one that has gone back, does not know it yet.
            ErrorKind::FutureRevision => Self::Unavailable(error.to_string()),
            _ if error.may_have_happened() => Self::Unavailable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}
