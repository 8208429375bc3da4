//! The database of a member, in parts.

use bytes::Bytes;
use tonic::Streaming;

use crate::connection::link::{Link, Token};
use crate::error::Result;
use crate::wire::maintenance::SNAPSHOT_PATH;
use crate::wire::maintenance::{SnapshotRequest, SnapshotResponse};

const NAME: &str = "Snapshot";

/// A snapshot that is being read: a file of bbolt, and the SHA-256 of it at the very end.
#[derive(Debug)]
pub struct Snapshot {
    link: Link,
    parts: Streaming<SnapshotResponse>,
}

impl Snapshot {
    pub(crate) async fn open(link: &Link, token: Option<Token>) -> Result<Self> {
        let request = futures::stream::iter([SnapshotRequest {}]);
        let parts = link
            .within(
                NAME,
                link.stream(NAME, SNAPSHOT_PATH, request, token.as_ref()),
            )
            .await?;
        Ok(Self {
            link: link.clone(),
            parts,
        })
    }

    /// The next part and the bytes that follow it, the SHA-256 not counted; `None` at the end.
    ///
    /// # Errors
    /// The member's; and if the next part does not come within
    /// [`Options::request_timeout`](crate::Options::request_timeout).
    pub async fn next(&mut self) -> Result<Option<(Bytes, u64)>> {
        let part = self.link.within(NAME, async {
            let part = self.parts.message().await;
            part.map_err(|status| self.link.failed(NAME, &status))
        });
        Ok(part.await?.map(|part| (part.blob, part.remaining_bytes)))
    }
}
