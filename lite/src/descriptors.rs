//! How many connections the process may have open without using up its descriptors.
//!
//! A process that has no descriptor left cannot open a file either: a persister that brings this
//! node could not go on to its next segment. So connections never get the last ones.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left to everything else: listeners, a journal, its readers, a log.
const RESERVED: u64 = 256;

/// The most connections that the limit of descriptors leaves room for.
pub(crate) fn room() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(beyond_reserve(limit)).unwrap_or(usize::MAX)
    })
}

/// Half of a small limit.
fn beyond_reserve(limit: u64) -> u64 {
    limit - RESERVED.min(limit / 2)
}

/// Raises the limit as far as the process may: the usual soft limit, 1,024, is kept low only for
/// the sake of programs that use `select`. For programs; a library leaves it alone.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_the_last_descriptors() {
        for (limit, most) in [(1 << 20, (1 << 20) - 256), (1_024, 768), (100, 50), (0, 0)] {
            assert_eq!(beyond_reserve(limit), most, "{limit}");
        }
    }
}
