//! What a damaged segment still proves: whether anything in it verifies, where its whole records are, and
//! how far it went.

use crate::{
    donor::Turn,
    error::Result,
    format::{
        kind::Kind,
        layout::{RecordHeader, SEGMENT_HEADER_BYTES, Seed},
        payload,
        position::TimelineTag,
    },
    model::{
        entry::Entry,
        ids::{Revision, Sequence},
    },
    segment::{scan, window::Source},
};

/// Where records begin.
pub(crate) const BEGIN: u64 = SEGMENT_HEADER_BYTES as u64;

/// What the headers in a segment prove, whether or not their payloads are whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The newest sequence that is there whole, or that was synced.
    pub(crate) last: Sequence,
    /// The newest revision that any header up to there names, and in which timeline.
    pub(crate) revision: Revision,
    pub(crate) timeline: Option<TimelineTag>,
    /// The seal, by its header: nothing comes behind it in a segment.
    pub(crate) seal: Option<Sequence>,
}

impl Evidence {
    /// Gathers it.
    pub(crate) fn gather(source: &mut Source, seed: &Seed) -> Result<Self> {
        let mut evidence = Self::default();
        // Beyond what was synced a header alone proves nothing.
        let mut unproven: Vec<(RecordHeader, u64)> = Vec::new();
        scan::search(
            source,
            seed,
            BEGIN,
            |offset, header| {
                let more = header.synced > evidence.last;
                evidence.last = evidence.last.max(header.synced);
                if header.kind == Kind::Seal {
                    evidence.seal = Some(header.sequence);
                }
                if more {
                    // Only then: looking through all of a large group for each of its records takes forever.
                    unproven.retain(|(h, _)| {
                        let proven = h.sequence <= evidence.last;
                        if proven {
                            evidence.names(h);
                        }
                        !proven
                    });
                }
                if header.sequence <= evidence.last {
                    evidence.names(&header);
                } else {
                    unproven.push((header, offset));
                }
                true
            },
            u64::MAX,
        )?;
        // No crash makes a sector unreadable: what has a header was there.
        let unreadable = source.unreadable().is_some();
        for (header, offset) in unproven {
            if unreadable || scan::look(source, seed, offset)?.is_ok() {
                evidence.last = evidence.last.max(header.sequence);
                evidence.names(&header);
            }
        }
        Ok(evidence)
    }

    fn names(&mut self, header: &RecordHeader) {
        let timeline = Some(header.position.timeline);
        // Another timeline counts by itself.
        let newest = self.timeline.replace(header.position.timeline);
        self.revision = if newest == timeline {
            self.revision.max(header.revision)
        } else {
            header.revision
        };
    }
}

/// The timelines that begin in a segment.
pub(crate) fn turns(source: &mut Source, seed: &Seed) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    let mut at = BEGIN;
    // From record to record; only damage is searched through.
    while let Some(offset) = next_whole(source, seed, at, Sequence(1))? {
        let raw = scan::look(source, seed, offset)?.expect("it was whole a moment ago");
        at = offset + raw.header.length();
        if raw.header.kind == Kind::Timeline
            && let Ok(Entry::Timeline(to)) = payload::decode(raw.header.kind, raw.payload)
        {
            turns.push(Turn {
                to,
                begun: Some(raw.header.revision),
            });
        }
    }
    Ok(turns)
}

/// Whether anything in the file verifies by this seed.
pub(crate) fn any_record(source: &mut Source, seed: &Seed) -> Result<bool> {
    let mut any = false;
    scan::search(
        source,
        seed,
        BEGIN,
        |_, _| {
            any = true;
            false
        },
        u64::MAX,
    )?;
    Ok(any)
}

/// The first offset from `at` on with a whole record that can follow.
pub(crate) fn next_whole(
    source: &mut Source,
    seed: &Seed,
    at: u64,
    expected: Sequence,
) -> Result<Option<u64>> {
    let mut from = at;
    loop {
        if is_whole(source, seed, from, expected)? {
            return Ok(Some(from));
        }
        let mut found = None;
        scan::search(
            source,
            seed,
            from + 1,
            |offset, header| {
                if header.sequence >= expected {
                    found = Some(offset);
                }
                found.is_none()
            },
            u64::MAX,
        )?;
        match found {
            Some(offset) => from = offset,
            None => return Ok(None),
        }
    }
}

fn is_whole(source: &mut Source, seed: &Seed, at: u64, expected: Sequence) -> Result<bool> {
    Ok(match scan::look(source, seed, at)? {
        Ok(raw) => {
            raw.header.sequence >= expected
                && match payload::decode(raw.header.kind, raw.payload) {
                    Ok(Entry::Lost { first_sequence, .. }) => first_sequence >= expected,
                    Ok(_) => true,
                    Err(_) => false,
                }
        }
        Err(_) => false,
    })
}
