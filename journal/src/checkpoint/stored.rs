//! A checkpoint as it lies in its file: what its header says, and its blocks one by one, for those
//! who look into files.

use uuid::Uuid;

use crate::{
    checkpoint::{blocks::BlockReader, file::Checkpoint, item::Live},
    error::Result,
    format::checkpoint::Kind,
    model::{
        entry::{Gap, KeyValue, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
};

/// What the header and the footer of a checkpoint say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckpointFacts {
    /// The journal that it belongs to.
    pub uuid: Uuid,
    /// What its checksums are seeded with.
    pub salt: u64,
    /// The revision whose state it holds.
    pub revision: Revision,
    /// It takes the place of all records up to this one.
    pub sequence: Sequence,
    /// When the newest of these records was observed, by their own account.
    pub observed_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// First sequence of the segment in which that record lay.
    pub segment_first: Sequence,
    /// The salt of that segment.
    pub segment_salt: u64,
    /// The record from which on revisions are counted as at the end; 0: the first.
    pub counting_from: Sequence,
    /// The first revision that can be told behind it.
    pub counting_at: Revision,
    /// The timeline in force.
    pub timeline: Option<Timeline>,
    /// What damage had cost by then and nothing had made good.
    pub open_gap: Option<Gap>,
    /// How many entries there are: paths and leases.
    pub entries: u64,
    /// How many of them are leases.
    pub leases: u64,
    /// In how many blocks they are.
    pub blocks: u64,
    /// Bytes of all paths, values and attributes, and of leases.
    pub content_bytes: u64,
    /// Over the checksums of all blocks.
    pub digest: u32,
    /// Length of the file.
    pub file_bytes: u64,
}

/// One block with what frames it in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredBlock {
    /// Offset of its header in the file, in bytes.
    pub offset: u64,
    /// Length on disk, in bytes: header, entries and padding.
    pub length: u64,
    /// Length of the entries (of the footer: of what it says), in bytes.
    pub body_bytes: u32,
    /// Whether it is the footer, which ends the file.
    pub is_footer: bool,
    /// How many entries are in the blocks before it.
    pub before: u64,
    /// Its leases: the id of each, and the time to live that it was granted, in seconds.
    pub leases: Vec<(i64, i64)>,
    /// Its paths, sorted.
    pub entries: Vec<KeyValue>,
    /// The checksum of the entries.
    pub body_crc: u32,
    /// The checksum of the header.
    pub header_crc: u32,
}

impl Checkpoint {
    /// What its header and its footer say.
    #[must_use]
    pub fn facts(&self) -> CheckpointFacts {
        let (h, f) = (&self.header, &self.footer);
        CheckpointFacts {
            uuid: h.uuid,
            salt: h.salt,
            revision: h.revision,
            sequence: h.sequence,
            observed_at: h.observed_at,
            created_at: h.created_at,
            segment_first: h.segment_first,
            segment_salt: h.segment_salt,
            counting_from: h.counting_from,
            counting_at: h.counting_at,
            timeline: h.timeline.clone(),
            open_gap: h.open_gap,
            entries: f.entries,
            leases: f.leases,
            blocks: f.blocks,
            content_bytes: f.content_bytes,
            digest: f.digest,
            file_bytes: self.file_bytes(),
        }
    }

    /// Its blocks, in order, the footer last. Each is verified before it is returned.
    ///
    /// # Errors
    /// The disk's. Damage is met by the iterator, which then ends.
    pub fn stored_blocks(&self) -> Result<StoredBlocks> {
        Ok(StoredBlocks {
            blocks: Some(self.blocks(&std::sync::Arc::default())?),
        })
    }
}

/// The blocks of a checkpoint. After an error there is nothing more.
#[derive(Debug)]
pub struct StoredBlocks {
    blocks: Option<BlockReader>,
}

impl StoredBlocks {
    fn advance(blocks: &mut BlockReader) -> Result<Option<StoredBlock>> {
        let Some((frame, items)) = blocks.next_block()? else {
            return Ok(None);
        };
        let (mut leases, mut entries) = (Vec::new(), Vec::new());
        for item in items {
            match blocks.live(item)? {
                Live::Lease(id, granted_ttl) => leases.push((id, granted_ttl)),
                Live::Path(kv) => entries.push(kv),
            }
        }
        Ok(Some(StoredBlock {
            offset: frame.offset,
            length: frame.header.length() as u64,
            body_bytes: frame.header.body_bytes,
            is_footer: frame.header.kind == Kind::Footer,
            before: frame.header.before,
            leases,
            entries,
            body_crc: frame.checksums.payload,
            header_crc: frame.checksums.header,
        }))
    }
}

impl Iterator for StoredBlocks {
    type Item = Result<StoredBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = Self::advance(self.blocks.as_mut()?);
        if !matches!(next, Ok(Some(_))) {
            self.blocks = None;
        }
        next.transpose()
    }
}
