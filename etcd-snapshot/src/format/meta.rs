//! The first two pages, each of which says where everything is. Of those that verify, the one with
//! the higher transaction counts.

use super::{
    page::{META, PAGE_HEADER_BYTES, PageHeader},
    size::is_page_size,
    u32_at, u64_at,
};

/// Bytes of a meta page that mean something; zeros follow.
pub(crate) const META_BYTES: usize = PAGE_HEADER_BYTES + CHECKSUM + 8;

/// The place of the list of unused pages in a file that has none, as etcd's own files.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

const MAGIC_NUMBER: u32 = 0xED0C_DAED;
const FORMAT_VERSION: u32 = 2;

// Behind the page's header, one constant per row of the table.
const MAGIC: usize = 0;
const VERSION: usize = 4;
const PAGE_BYTES: usize = 8;
const FLAGS: usize = 12;
const ROOT: usize = 16;
const ROOT_SEQUENCE: usize = 24;
const FREELIST: usize = 32;
const PAGES: usize = 40;
const TRANSACTION: usize = 48;
const CHECKSUM: usize = 56;
const _: () = assert!(META_BYTES == 80 && CHECKSUM == TRANSACTION + 8);

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Bytes of a page.
    pub(crate) page_bytes: usize,
    /// The page where the list of buckets begins.
    pub(crate) root: u64,
    /// The page that lists unused pages, or [`NO_FREELIST`].
    pub(crate) freelist: u64,
    /// How many pages the file has; none with this number or a higher one is used.
    pub(crate) pages: u64,
    /// The transaction that wrote it.
    pub(crate) transaction: u64,
}

impl Meta {
    /// The first bytes of meta page `id`, which is 0 or 1.
    pub(crate) fn encode(&self, id: u64) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        let header = PageHeader {
            id,
            flags: META,
            count: 0,
            overflow: 0,
        };
        let (head, body) = bytes.split_at_mut(PAGE_HEADER_BYTES);
        head.copy_from_slice(&header.encode());
        let page_bytes = u32::try_from(self.page_bytes).unwrap_or(u32::MAX); // at most 64 KiB
        body[MAGIC..VERSION].copy_from_slice(&MAGIC_NUMBER.to_le_bytes());
        body[VERSION..PAGE_BYTES].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        body[PAGE_BYTES..FLAGS].copy_from_slice(&page_bytes.to_le_bytes());
        body[ROOT..ROOT_SEQUENCE].copy_from_slice(&self.root.to_le_bytes());
        body[FREELIST..PAGES].copy_from_slice(&self.freelist.to_le_bytes());
        body[PAGES..TRANSACTION].copy_from_slice(&self.pages.to_le_bytes());
        body[TRANSACTION..CHECKSUM].copy_from_slice(&self.transaction.to_le_bytes());
        let checksum = fnv1a(&body[..CHECKSUM]);
        body[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// From the first [`META_BYTES`] of a page, or what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let body = &bytes[PAGE_HEADER_BYTES..META_BYTES];
        if u32_at(body, MAGIC) != MAGIC_NUMBER {
            return Err("bbolt's magic number is not there");
        }
        if u32_at(body, VERSION) != FORMAT_VERSION {
            return Err("a version of bbolt's format other than 2");
        }
        if u64_at(body, CHECKSUM) != fnv1a(&body[..CHECKSUM]) {
            return Err("the checksum of the meta page does not match");
        }
        if PageHeader::decode(bytes).flags != META {
            return Err("the page is not marked as a meta page");
        }
        let page_bytes = usize::try_from(u32_at(body, PAGE_BYTES)).unwrap_or(usize::MAX);
        if !is_page_size(page_bytes) {
            return Err("the page size is not a power of two from 1 KiB to 64 KiB");
        }
        Ok(Self {
            page_bytes,
            root: u64_at(body, ROOT),
            freelist: u64_at(body, FREELIST),
            pages: u64_at(body, PAGES),
            transaction: u64_at(body, TRANSACTION),
        })
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
