//! Which errors of a doozer node pass, and which are its last word. One table.

use cairn_client::{self as client, ErrorCode, wire::Verb};

use crate::cluster::error::{Conflict, Error};

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let says = error.to_string();
        match error {
            client::Error::Server {
                verb, code, detail, ..
            } => of_node(verb, code, &detail, says),
            // What the client refused by itself, and would refuse again.
            client::Error::InvalidPath(_)
            | client::Error::InvalidGlob(_)
            | client::Error::TooLarge { .. }
            | client::Error::Uri(_) => Self::Refused(says),
            // After a timeout, a lost connection or nonsense a session is not to be relied on.
            _ => Self::Unavailable(says),
        }
    }
}

/// What a node's answer means: `says` tells it to people.
fn of_node(verb: Verb, code: ErrorCode, detail: &str, says: String) -> Error {
    match code {
        ErrorCode::RevMismatch => Error::Conflict(Conflict::Key),
        ErrorCode::TooLate => Error::HistoryDiscarded,
        // Another node may take writes, and a session of ours is over when it cannot write. A tag
        // that is in use was given twice: the connection is out of step.
        ErrorCode::ReadOnly | ErrorCode::TagInUse => Error::Unavailable(says),
        ErrorCode::Other | ErrorCode::Unknown(_) if passes(verb, detail) => {
            Error::Unavailable(says)
        }
        _ => Error::Refused(says),
    }
}

/// Whether a refusal that has no number of its own is one of this moment. A node gives its reason
/// in words only. What we read is always there to be read, so who refuses that is full or in
/// trouble; a write may be refused for what it is.
fn passes(verb: Verb, detail: &str) -> bool {
    if detail.contains("permission denied") {
        return false;
    }
    let writes = matches!(verb, Verb::Set | Verb::Del);
    !writes || detail.contains("later") || detail.contains("too many connections")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Means {
        Passes,
        Conflict,
        Discarded,
        Final,
    }

    fn meaning(verb: Verb, code: ErrorCode, detail: &str) -> Means {
        let error = client::Error::Server {
            verb,
            path: "/a".to_owned(),
            code,
            detail: detail.to_owned(),
        };
        match Error::from(error) {
            Error::Unavailable(_) => Means::Passes,
            Error::Conflict(_) => Means::Conflict,
            Error::HistoryDiscarded => Means::Discarded,
            Error::Refused(_) => Means::Final,
        }
    }

    #[test]
    fn each_number_of_a_node_means_one_thing() {
        for (code, means) in [
            (ErrorCode::TagInUse, Means::Passes),
            (ErrorCode::UnknownVerb, Means::Final),
            (ErrorCode::ReadOnly, Means::Passes),
            (ErrorCode::TooLate, Means::Discarded),
            (ErrorCode::RevMismatch, Means::Conflict),
            (ErrorCode::BadPath, Means::Final),
            (ErrorCode::MissingArg, Means::Final),
            (ErrorCode::Range, Means::Final),
            (ErrorCode::NotDir, Means::Final),
            (ErrorCode::IsDir, Means::Final),
            (ErrorCode::NoEnt, Means::Final),
        ] {
            for verb in [Verb::Get, Verb::Set, Verb::Wait] {
                assert_eq!(meaning(verb, code, ""), means, "{code:?}");
            }
        }
    }

    /// The story: "too many connections (limit 6): try another node, or later" ended a persister
    /// for good.
    #[test]
    fn who_says_later_means_it() {
        let full = "too many connections (limit 6): try another node, or later";
        let waits = "too many requests are waiting on this node (limit 9): try again later";
        for (verb, detail, means) in [
            (Verb::Rev, full, Means::Passes),
            (Verb::Set, full, Means::Passes),
            (Verb::Wait, waits, Means::Passes),
            (Verb::Walk, "", Means::Passes),
            (Verb::Nop, "no quorum", Means::Passes),
            (Verb::Set, "value too long", Means::Final),
            (Verb::Del, "", Means::Final),
            (Verb::Rev, "permission denied", Means::Final),
            (Verb::Set, "permission denied", Means::Final),
        ] {
            assert_eq!(
                meaning(verb, ErrorCode::Other, detail),
                means,
                "{verb:?} {detail}"
            );
            let unknown = ErrorCode::Unknown(99);
            assert_eq!(meaning(verb, unknown, detail), means, "{verb:?} {detail}");
        }
    }
}
