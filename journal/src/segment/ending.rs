//! How a segment without a successor ends: in good order, in a torn tail, or in damage.

use crate::{
    error::Result,
    segment::scan::{Scan, Stop},
};

/// How a stop at the end of a live segment is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing but zeros, or nothing, after the last record.
    Clean,
    /// So many bytes of something that was never known to be synced.
    Torn(u64),
    /// The record at `proof` was written when the one that is bad here had been synced.
    Corrupt { proof: u64, detail: String },
}

/// Decides between a torn tail and corruption, by the synced sequences of later records.
///
/// Looks at the next `look` bytes only.
pub(crate) fn judge(scan: &mut Scan, stop: &Stop, look: u64) -> Result<Tail> {
    if scan.seal.is_some() {
        // Preallocated zeros may follow a seal; nothing that counts.
        return Ok(Tail::Clean);
    }
    let expected = scan.expected;
    if let Some(proof) = scan.proof_of_sync(expected, look)? {
        return Ok(Tail::Corrupt {
            proof,
            detail: format!(
                "{}; the record at offset {proof} proves that it had been acknowledged",
                stop.detail()
            ),
        });
    }
    if *stop == Stop::EndOfFile {
        return Ok(Tail::Clean);
    }
    Ok(match scan.nonzero_bytes(look)? {
        0 => Tail::Clean,
        n => Tail::Torn(n),
    })
}
