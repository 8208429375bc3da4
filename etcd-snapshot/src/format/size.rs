//! The limits of the format, and the sizes of the file.

/// The size of a page in the files that are written; etcd's own have the page size of their
/// machine.
pub const DEFAULT_PAGE_BYTES: usize = 4096;
/// No page is smaller.
pub(crate) const MIN_PAGE_BYTES: usize = 1024;
/// No page is larger.
pub(crate) const MAX_PAGE_BYTES: usize = 64 << 10;
/// The sha256 behind the last page.
pub(crate) const DIGEST_BYTES: usize = 32;
/// bbolt takes no longer key.
pub(crate) const MAX_KEY_BYTES: u32 = 32_768;
/// bbolt takes no longer value.
pub(crate) const MAX_VALUE_BYTES: u64 = (1 << 31) - 2;
/// bbolt refuses a page of 65,535 elements or more: the count has 16 bits.
pub(crate) const MAX_ELEMENTS: usize = 0xFFFE;

/// Whether pages can have this size.
pub(crate) fn is_page_size(bytes: usize) -> bool {
    bytes.is_power_of_two() && (MIN_PAGE_BYTES..=MAX_PAGE_BYTES).contains(&bytes)
}
