//! Sorted rows as a stream of blocks: the body of a checkpoint, and of the files that are merged
//! into one.
//!
//! Holds one block at a time in both directions. Every block is verified before anything in it is
//! returned, every length before it is allocated, and the order of the keys as they pass.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    checkpoint::{
        buffers::{Held, Meter},
        item::{Item, Live},
    },
    error::{Error, Result},
    format::{
        checkpoint::{
            BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, FOOTER_BYTES, Footer, Kind,
            MAX_BLOCK_BYTES,
        },
        layout::{ALIGNMENT, Checksums, Digest, Seed, payload_matches},
        table::{self, Space},
    },
    model::{ids::Revision, view::ChangeRef},
    storage::file_handle::FileHandle,
};

/// Length of the footer with its block header.
pub(crate) const FOOTER_BLOCK_BYTES: u64 = (BLOCK_HEADER_BYTES + FOOTER_BYTES) as u64;

/// Writes blocks.
pub(crate) struct BlockWriter<'a> {
    file: &'a FileHandle,
    seed: Seed,
    offset: u64,
    /// Room for the block header, then entries.
    block: Vec<u8>,
    entries: u32,
    footer: Footer,
    digest: Digest,
    held: Held,
}

impl<'a> BlockWriter<'a> {
    pub(crate) fn new(file: &'a FileHandle, seed: Seed, offset: u64, meter: &Arc<Meter>) -> Self {
        Self {
            file,
            seed,
            offset,
            block: vec![0; BLOCK_HEADER_BYTES],
            entries: 0,
            footer: Footer::default(),
            digest: Digest::default(),
            held: meter.holder(),
        }
    }

    /// How far the file was written.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The caller brings keys in ascending order.
    pub(crate) fn push(&mut self, item: &Item) -> Result<()> {
        let row = ChangeRef::from(&item.change);
        let length = table::length(&row);
        let is_full = self.block.len() - BLOCK_HEADER_BYTES + length > BLOCK_BYTES;
        if self.entries > 0 && is_full {
            self.flush(Kind::Entries)?;
        }
        table::put(&mut self.block, item.space, &row);
        self.held.set(self.block.len());
        self.entries += 1;
        self.footer.content_bytes += table::content_bytes(&row) as u64;
        self.footer.leases += u64::from(item.space == Space::Leases);
        Ok(())
    }

    fn flush(&mut self, kind: Kind) -> Result<()> {
        let body = self.block.len() - BLOCK_HEADER_BYTES;
        let header = BlockHeader {
            body_bytes: u32::try_from(body).expect("an entry was part of a record's payload"),
            kind,
            before: self.footer.entries,
            entries: self.entries,
        };
        self.block.resize(header.length(), 0);
        let checksums = header.seal_into(&mut self.block, &self.seed, self.offset);
        self.file.write_at(&self.block, self.offset)?;
        self.offset += self.block.len() as u64;
        if kind == Kind::Entries {
            self.digest.add(checksums);
            self.footer.blocks += 1;
            self.footer.entries += u64::from(self.entries);
        }
        self.entries = 0;
        self.block.truncate(BLOCK_HEADER_BYTES);
        // One large value must not stay with us.
        self.block.shrink_to(BLOCK_HEADER_BYTES + BLOCK_BYTES);
        self.held.set(self.block.len());
        Ok(())
    }

    /// Writes the footer; returns it and the length of the file.
    pub(crate) fn finish(mut self) -> Result<(Footer, u64)> {
        if self.entries > 0 {
            self.flush(Kind::Entries)?;
        }
        self.footer.digest = self.digest.value();
        self.block.extend_from_slice(&self.footer.encode());
        self.flush(Kind::Footer)?;
        Ok((self.footer, self.offset))
    }
}

/// Where a block lies and what its header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) header: BlockHeader,
    pub(crate) checksums: Checksums,
}

/// Reads blocks.
#[derive(Debug)]
pub(crate) struct BlockReader {
    file: Arc<FileHandle>,
    seed: Seed,
    /// Where the next block begins.
    offset: u64,
    length: u64,
    block: Bytes,
    /// Of the block that was read last.
    frame: Option<Frame>,
    left: u32,
    last: Option<(Space, Bytes)>,
    seen: Footer,
    digest: Digest,
    ended: bool,
    held: Held,
    /// What an error is to name.
    of: Revision,
}

impl BlockReader {
    pub(crate) fn new(
        file: Arc<FileHandle>,
        seed: Seed,
        offset: u64,
        of: Revision,
        meter: &Arc<Meter>,
    ) -> Result<Self> {
        let length = file.len()?;
        Ok(Self {
            file,
            seed,
            offset,
            length,
            block: Bytes::new(),
            frame: None,
            left: 0,
            last: None,
            seen: Footer::default(),
            digest: Digest::default(),
            ended: false,
            held: meter.holder(),
            of,
        })
    }

    fn damaged(&self, detail: impl Into<String>) -> Error {
        damaged(&self.file.path, self.offset, self.of, detail)
    }

    /// The next entry of a state, in which nothing is gone.
    pub(crate) fn next_live(&mut self) -> Result<Option<Live>> {
        let item = self.next()?;
        item.map(|item| self.live(item)).transpose()
    }

    /// What an entry of a state says.
    pub(crate) fn live(&self, item: Item) -> Result<Live> {
        item.live().map_err(|detail| self.damaged(detail))
    }

    /// The next entry; `None` after the footer was reached and agreed.
    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        while self.left == 0 {
            if self.ended {
                return Ok(None);
            }
            if !self.block.is_empty() {
                return Err(self.damaged("bytes follow the last entry of a block"));
            }
            self.advance()?;
        }
        let (space, row, rest) = table::take(&self.block).map_err(|d| self.damaged(d))?;
        if row.revision.is_none() {
            return Err(self.damaged("an entry has no revision"));
        }
        let is_after =
            |(last_space, last): &(Space, Bytes)| (*last_space, &**last) < (space, row.path);
        if !self.last.as_ref().is_none_or(is_after) {
            return Err(self.damaged("its entries are not in order"));
        }
        self.seen.content_bytes += table::content_bytes(&row) as u64;
        self.seen.leases += u64::from(space == Space::Leases);
        let item = Item {
            space,
            change: row.within(&self.block),
        };
        self.left -= 1;
        self.block = self.block.slice_ref(rest);
        self.last = Some((space, item.change.path.clone()));
        Ok(Some(item))
    }

    /// The next whole block, between blocks; the footer, which has no entries, is the last.
    pub(crate) fn next_block(&mut self) -> Result<Option<(Frame, Vec<Item>)>> {
        if self.ended {
            return Ok(None);
        }
        let mut items = Vec::from_iter(self.next()?);
        while self.left > 0 {
            items.extend(self.next()?);
        }
        Ok(self.frame.map(|frame| (frame, items)))
    }

    fn advance(&mut self) -> Result<()> {
        let ((header, checksums), body) =
            read_block(&self.file, &self.seed, self.offset, self.length)
                .map_err(|e| e.into_error(|d| self.damaged(d)))?;
        self.frame = Some(Frame {
            offset: self.offset,
            header,
            checksums,
        });
        if header.before != self.seen.entries {
            return Err(self.damaged(format!(
                "the block says that {} entries are before it, there are {}",
                header.before, self.seen.entries
            )));
        }
        if header.kind == Kind::Footer {
            return self.end(&header, &body);
        }
        if header.entries == 0 {
            return Err(self.damaged("a block has no entries"));
        }
        self.held.set(body.len());
        self.offset += header.length() as u64;
        self.seen.entries += u64::from(header.entries);
        self.seen.blocks += 1;
        self.digest.add(checksums);
        // The key that the next one is compared with must not keep a block alive.
        let last = self.last.take();
        self.last = last.map(|(space, key)| (space, Bytes::copy_from_slice(&key)));
        self.block = body;
        self.left = header.entries;
        Ok(())
    }

    fn end(&mut self, header: &BlockHeader, body: &[u8]) -> Result<()> {
        let footer = Footer::decode(body).map_err(|d| self.damaged(d))?;
        self.seen.digest = self.digest.value();
        if header.entries != 0 || footer != self.seen {
            return Err(self.damaged(format!(
                "the footer says {footer:?}, the blocks before it {:?}",
                self.seen
            )));
        }
        if self.offset + header.length() as u64 != self.length {
            return Err(self.damaged("bytes follow the footer"));
        }
        self.ended = true;
        self.held.set(0);
        Ok(())
    }
}

/// Reads the footer where it has to be, at the end of the file: whether the file is complete,
/// without reading it.
pub(crate) fn read_footer(file: &FileHandle, seed: &Seed, of: Revision) -> Result<(Footer, u64)> {
    let length = file.len()?;
    let at = length.saturating_sub(FOOTER_BLOCK_BYTES);
    let bad = |detail: String| damaged(&file.path, at, of, format!("no footer: {detail}"));
    if !length.is_multiple_of(ALIGNMENT as u64) {
        return Err(bad(format!("the file has {length} bytes")));
    }
    let ((header, _), body) = read_block(file, seed, at, length).map_err(|e| e.into_error(bad))?;
    if header.kind != Kind::Footer {
        return Err(bad("another block is at the end".to_owned()));
    }
    Ok((Footer::decode(&body).map_err(bad)?, length))
}

enum Unreadable {
    Error(Error),
    Damaged(String),
}

impl Unreadable {
    fn into_error(self, damaged: impl FnOnce(String) -> Error) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Damaged(detail) => damaged(detail),
        }
    }
}

type Block = ((BlockHeader, Checksums), Bytes);

fn read_block(
    file: &FileHandle,
    seed: &Seed,
    offset: u64,
    length: u64,
) -> std::result::Result<Block, Unreadable> {
    let bad = |detail: &str| Err(Unreadable::Damaged(detail.to_owned()));
    let mut head = [0; BLOCK_HEADER_BYTES];
    let n = file.read_at(&mut head, offset).map_err(Unreadable::Error)?;
    if n < head.len() {
        return bad("the file ends where a block or the footer should be");
    }
    let (header, checksums) =
        BlockHeader::decode(&head, seed, offset).map_err(Unreadable::Damaged)?;
    if offset.saturating_add(header.length() as u64) > length {
        return bad("the file ends inside a block");
    }
    debug_assert!(header.body_bytes <= MAX_BLOCK_BYTES);
    let mut body = vec![0; header.length() - BLOCK_HEADER_BYTES];
    let n = file
        .read_at(&mut body, offset + BLOCK_HEADER_BYTES as u64)
        .map_err(Unreadable::Error)?;
    if n < body.len() {
        return bad("the file ends inside a block");
    }
    if !payload_matches(&body, checksums, seed.at(offset)) {
        return bad("the block's checksum does not match");
    }
    body.truncate(header.body_bytes as usize);
    Ok(((header, checksums), Bytes::from(body)))
}

pub(crate) fn damaged(
    path: &Arc<PathBuf>,
    offset: u64,
    revision: Revision,
    detail: impl Into<String>,
) -> Error {
    Error::CheckpointDamaged {
        path: path.to_path_buf(),
        offset,
        revision,
        detail: detail.into(),
    }
}
