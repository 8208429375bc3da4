//! Sessions with members.

use anyhow::Result;
use cairn_etcd::{Cluster, Environment, Options, Session, Target, Uri};
use cairn_etcd_member::Member;

/// The cluster at `uri`.
pub(crate) fn cluster(uri: &str, environment: &Environment, options: Options) -> Result<Cluster> {
    let uri: Uri = uri.parse()?;
    Ok(Cluster::new(Target::new(&uri, environment)?, options))
}

/// A session with one member.
pub(crate) async fn open(member: &Member) -> Result<Session> {
    let cluster = cluster(&member.uri(), &Environment::default(), Options::default())?;
    Ok(cluster.open().await?)
}
