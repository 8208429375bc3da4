//! One suite, compiled and run against both crates: the import is all that differs.
//!
//! A method, a type or a code of an error that one of the two lacks fails here.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../played/mod.rs"]
mod played;

/// What both are run against: a member, and a persister 1 whose disk is instantaneous.
mod cluster {
    use cairn_etcd_member::Member;
    use tokio::task::JoinSet;

    use crate::played;

    pub(crate) struct Cluster {
        pub(crate) endpoint: String,
        _member: Member,
        _playing: JoinSet<anyhow::Result<()>>,
    }

    pub(crate) async fn start() -> Cluster {
        let member = Member::start(&["--unsafe-no-fsync"]).unwrap();
        let mut playing = JoinSet::new();
        playing.spawn(played::play(played::hand(&member).await.unwrap()));
        Cluster {
            endpoint: played::endpoint(&member),
            _member: member,
            _playing: playing,
        }
    }
}

mod regular {
    use etcd_client as client;
    include!("suite.rs");

    async fn connect(endpoint: &str) -> Result<Client, Error> {
        Client::connect([endpoint], None).await
    }
}

mod durable {
    use cairn_etcd_client as client;
    include!("suite.rs");

    // As `connect` of the suite, with more patience than a loaded machine needs.
    async fn connect(endpoint: &str) -> Result<Client, Error> {
        let patient = crate::played::within(crate::played::LONG);
        Client::connect_durable([endpoint], None, patient).await
    }
}
