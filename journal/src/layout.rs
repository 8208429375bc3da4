//! The bytes of a segment.

pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
pub(crate) const RECORD_HEADER_BYTES: usize = 40;
pub(crate) const MAX_PAYLOAD_BYTES: u32 = 256 << 20;
pub(crate) const MAX_SEGMENT_BYTES: u64 = 16 << 30;
pub(crate) const SEAL_RESERVE_BYTES: u64 = 16 << 10;

pub(crate) const fn record_length(payload_bytes: u32) -> u64 {
    RECORD_HEADER_BYTES as u64 + (payload_bytes as u64).next_multiple_of(8)
}
