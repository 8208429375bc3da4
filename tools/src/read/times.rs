//! Where times lie among the records of a source.

use cairn_journal::{
    Entry, Sequence, Timestamp,
    inspect::{TimeFound, TimeSearch},
};

use crate::read::dump::{Item, read};
use crate::read::filter::{Bound, Point};
use crate::read::source::{Source, SourceError, time_of};

/// The part of a source between two points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Where it begins.
    pub from: Option<Bound>,
    /// Where it ends.
    pub to: Option<Bound>,
    /// What is in doubt about that, for people.
    pub doubts: Vec<String>,
}

/// Finds the part from one point to another, both included. For a time reads all records, or those
/// before damage, which whoever reads on meets again.
pub fn bounds(
    source: &Source,
    from: Option<Point>,
    to: Option<Point>,
) -> Result<Bounds, SourceError> {
    let before = |Timestamp(time)| Timestamp(time.saturating_sub(1));
    // What is of this very millisecond is wanted.
    let times = [
        from.and_then(Point::time).map(before),
        to.and_then(Point::time),
    ];
    let mut found = places(source, times.into_iter().flatten())?.into_iter();
    let mut doubts = Vec::new();
    let mut place = |option, time: Option<Timestamp>| {
        let time = time?;
        let found = found.next()?;
        doubts.extend(doubt(option, time, found));
        Some(found.place)
    };
    let begin = place("--from", times[0]).map(|last| Bound::Sequence(last.next()));
    let end = place("--to", times[1]).map(Bound::Sequence);
    let revision = |point: Option<Point>| point.and_then(Point::revision).map(Bound::Revision);
    Ok(Bounds {
        from: begin.or(revision(from)),
        to: end.or(revision(to)),
        doubts,
    })
}

/// The sentence that says so, if the place of a time is in doubt.
pub(crate) fn doubt(option: &str, time: Timestamp, found: TimeFound<Sequence>) -> Option<String> {
    let TimeFound {
        place,
        earliest,
        latest,
    } = found;
    (earliest < latest).then(|| {
        format!(
            "{option}: a clock was wrong when records were written: at {} the newest record was \
             one from sequence {earliest} to {latest}, and {place} is taken, which most records \
             agree with. Give a revision instead, if you know better",
            time.show()
        )
    })
}

/// The newest record that is not later, for each of these times.
pub fn places(
    source: &Source,
    times: impl Iterator<Item = Timestamp>,
) -> Result<Vec<TimeFound<Sequence>>, SourceError> {
    let now = Timestamp::now();
    let mut searches: Vec<_> = times
        .map(|time| TimeSearch::new(time, Sequence::NONE, now))
        .collect();
    if searches.is_empty() {
        return Ok(Vec::new());
    }
    let mut records = source.records(None)?;
    // Damage is met again by whoever reads on, and told then.
    let _ = read(&mut records, |item| {
        if let Item::Record(record) = item {
            let time = time_of(&record.entry);
            let happened = !matches!(record.entry.marker(), Some(Entry::Watermark { .. }));
            for search in &mut searches {
                search.see(record.sequence, time, happened);
            }
        }
        Ok(())
    });
    Ok(searches.iter().map(TimeSearch::finish).collect())
}
