//! A single etcd by gRPC over one connection: with fsync, without, and without but with persisters.

use anyhow::{Context, Result};
use cairn_etcd::wire::{PutRequest, RangeRequest};
use cairn_etcd::{Environment, Options, Target};
use cairn_etcd_member::Member;
use cairn_sync_client::etcd::Client;
use cairn_sync_client::{Durability, keys};
use cairn_tests::{Process, eventually};

use crate::cluster::timed;
use crate::{Row, VALUE};

/// What stands behind a write.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    /// Etcd's own fsync.
    Fsync,
    /// Nothing, with so many persisters following.
    Nothing(u32),
    /// So many persisters, and how many of them a write waits for.
    Persisters(u32, usize),
}

impl Behind {
    fn described(self) -> String {
        match self {
            Self::Fsync => "etcd, fsync".to_owned(),
            Self::Nothing(0) => "etcd, no fsync".to_owned(),
            Self::Nothing(some) => format!("etcd, no fsync, {some} following"),
            Self::Persisters(some, required) => {
                format!("etcd, no fsync, sync {required} of {some}")
            }
        }
    }
}

/// Puts over one connection, so many at once.
pub(crate) async fn measure(behind: Behind, in_flight: usize, writes: usize) -> Result<Row> {
    let no_fsync: &[&str] = &["--unsafe-no-fsync"];
    let (args, persisters) = match behind {
        Behind::Fsync => (&[][..], 0),
        Behind::Nothing(some) | Behind::Persisters(some, _) => (no_fsync, some),
    };
    let member = Member::start(args)?;
    let journals = tempfile::tempdir()?;
    let uri = format!("etcd://127.0.0.1:{}", member.port());
    let mut running = Vec::new();
    for id in 1..=persisters {
        let (number, journal) = (id.to_string(), journals.path().join(id.to_string()));
        let journal = journal.to_str().context("a directory for tests is UTF-8")?;
        let args = ["--id", &number, "-a", &uri, "-j", journal];
        running.push(Process::start("persister", args)?);
    }
    let required = match behind {
        Behind::Persisters(_, required) => required,
        Behind::Fsync | Behind::Nothing(_) => 1,
    };
    let target = Target::new(&uri.parse()?, &Environment::default())?;
    let named: Vec<u32> = (1..=persisters.max(1)).collect();
    let policy = Durability::new(named, required);
    let client = Client::connect_to(target, policy, Options::default()).await?;
    for id in 1..=persisters {
        eventually("a persister that has attached", || async {
            let owner = client.get(RangeRequest::key(keys::owner(id))).await?;
            Ok(owner.kvs.first().map(drop))
        })
        .await?;
    }
    let session = client.session().await?;
    let write = |number: usize| {
        let put = PutRequest::new(format!("bench/{}", number % 1000), vec![b'x'; VALUE]);
        let (client, session) = (client.clone(), session.clone());
        async move {
            match behind {
                Behind::Persisters(..) => drop(client.put(put).await?),
                Behind::Fsync | Behind::Nothing(_) => drop(session.call(put).await?),
            }
            Ok(())
        }
    };
    timed(behind.described(), in_flight, writes, write).await
}
