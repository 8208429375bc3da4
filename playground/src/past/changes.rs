//! Changes, one by one.

use crate::past::answers::{Change, Changes};
use crate::past::index::millis;
use crate::past::shown::{Shown, unreadable};
use crate::past::text::escaped;
use crate::told::refusal::Refusal;

/// So many changes, from this one on.
pub(super) fn changes(shown: &mut Shown, from: u64, count: u64) -> Result<Changes, Refusal> {
    let mut changes = Vec::new();
    let until = from.saturating_add(count);
    if let Some(place) = shown.index.place(from).filter(|_| count > 0) {
        let mut index = place.before;
        'records: for record in shown.index.reader().records_from(place.sequence) {
            let record = record.map_err(|error| unreadable(&error))?;
            let time = record.entry.observed_at().and_then(millis);
            for change in record.entry.changes() {
                index += 1;
                if index >= until || index > shown.index.count() {
                    break 'records;
                }
                if index < from {
                    continue;
                }
                let (op, bytes) = match &change.op {
                    cairn_journal::Op::Set(value) => ("set", value.len()),
                    cairn_journal::Op::Delete => ("delete", 0),
                };
                changes.push(Change {
                    index,
                    revision: change.revision.unwrap_or(record.revision).0,
                    time,
                    op,
                    key: escaped(&change.path),
                    bytes,
                });
            }
        }
    }
    Ok(Changes {
        count: shown.index.count(),
        changes,
        markers: shown.index.markers(),
    })
}
