//! Finds what verifies in a damaged segment: whole records, and headers of records whose payload is
//! gone.

use crate::{
    error::Result,
    format::{
        layout::{RecordHeader, SEGMENT_HEADER_BYTES, Seed},
        payload,
    },
    model::{entry::Entry, ids::Sequence},
    segment::{scan, window::Source},
};

/// Where records begin.
pub(crate) const BEGIN: u64 = SEGMENT_HEADER_BYTES as u64;

/// How many headers of damaged records are remembered within one hole. Beyond that, losses are
/// named less exactly.
const MAX_HEADERS: usize = 65_536;

/// A whole record: where it lies, its header, and what it says if it is not changes.
pub(crate) struct Whole {
    pub(crate) offset: u64,
    pub(crate) header: RecordHeader,
    pub(crate) marker: Option<Entry>,
}

/// Whether anything in the file verifies by this seed.
pub(crate) fn any_record(source: &mut Source, seed: &Seed) -> Result<bool> {
    let mut any = false;
    let found = |_, _| {
        any = true;
        false
    };
    scan::search(source, seed, BEGIN, found, u64::MAX)?;
    Ok(any)
}

/// The first whole record at `at` or behind it whose sequence is not less than `expected`.
pub(crate) fn next_whole(
    source: &mut Source,
    seed: &Seed,
    at: u64,
    expected: Sequence,
) -> Result<Option<Whole>> {
    let mut from = at;
    loop {
        if let Some(whole) = whole(source, seed, from)?
            && whole.header.sequence >= expected
        {
            return Ok(Some(whole));
        }
        let mut found = None;
        let is_later = |offset, header: RecordHeader| {
            if header.sequence >= expected {
                found = Some(offset);
            }
            found.is_none()
        };
        scan::search(source, seed, from + 1, is_later, u64::MAX)?;
        match found {
            Some(offset) => from = offset,
            None => return Ok(None),
        }
    }
}

fn whole(source: &mut Source, seed: &Seed, offset: u64) -> Result<Option<Whole>> {
    let Ok(raw) = scan::look(source, seed, offset)? else {
        return Ok(None);
    };
    let header = raw.header;
    Ok(payload::view(header.kind, raw.payload)
        .ok()
        .map(|entry| Whole {
            offset,
            header,
            marker: entry.marker().cloned(),
        }))
}

/// The headers that verify in a part of the file, of sequences from `first` to `last`, in order.
pub(crate) fn headers(
    source: &mut Source,
    seed: &Seed,
    part: std::ops::Range<u64>,
    first: Sequence,
    last: Sequence,
) -> Result<Vec<(u64, RecordHeader)>> {
    let mut found: Vec<(u64, RecordHeader)> = Vec::new();
    let visit = |offset, header: RecordHeader| {
        let least = found.last().map_or(first, |(_, h)| h.sequence.next());
        if header.sequence >= least && header.sequence <= last {
            found.push((offset, header));
        }
        found.len() < MAX_HEADERS
    };
    scan::search(source, seed, part.start, visit, part.end)?;
    Ok(found)
}
