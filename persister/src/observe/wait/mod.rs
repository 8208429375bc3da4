//! `persister wait`: returns once a revision is on enough disks, told by the cluster or by the
//! persisters themselves.

mod by_status;
mod in_cluster;
pub mod progress;

use crate::error::Error;
use crate::observe::wait::progress::{Progress, WaitAt, WaitRequest};

/// Waits until the revision is on enough disks, and says how far everybody is; or how far they were
/// when the time was over.
///
/// # Errors
/// The cluster's, if it was never reached; [`Error::Renamed`]; what the cluster refuses.
pub async fn wait(request: &WaitRequest) -> Result<Progress, Error> {
    match &request.at {
        WaitAt::Cluster(address) => in_cluster::wait(request, address).await,
        WaitAt::Status(persisters) => by_status::wait(request, persisters).await,
    }
}
