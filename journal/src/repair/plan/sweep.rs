//! One sweep over all that is left of the own journal.

use std::collections::BTreeMap;

use crate::{
    checkpoint::file::Checkpoint,
    error::Result,
    format::{kind::Kind, position::TimelineTag},
    model::{
        ids::{Revision, Sequence},
        span::Span,
    },
    repair::{
        catalog::{Item, UNKNOWN, What},
        donor::Donor,
        lineage::Lineage,
        plan::{
            decided::{Plan, Start, Step, is_diff, lacks_something},
            planner::{Diff, Life, Planner, gap_after, takes_back},
        },
    },
};

/// Makes the plan.
pub(crate) fn plan(
    items: &[Item],
    start: &Start,
    checkpoints: &[Checkpoint],
    lineage: &Lineage,
    donors: &mut [Box<dyn Donor>],
) -> Result<Plan> {
    let is_base = |item: &Item| matches!(item.what, What::Checkpoint(_));
    let only_lacking = start.first > Sequence(1) && checkpoints.iter().all(lacks_something);
    let guarded = items.iter().rposition(is_base).filter(|_| only_lacking);
    let name = start.timeline.as_ref().map(|t| t.id.clone());
    let mut planner = Planner {
        items,
        checkpoints,
        donors,
        lineage,
        life: Life {
            tag: TimelineTag::of(name.as_deref()),
            name,
        },
        reached: start.covered,
        prev: start.first.previous(),
        at: 0,
        hole: None,
        named: false,
        told: false,
        newest: start.covered,
        unsure: false,
        diff: start.open_gap.filter(is_diff).map(|gap| Diff {
            headless: true,
            ..Diff::new(gap, start.covered, None)
        }),
        found: None,
        filled: None,
        regained: false,
        guarded: guarded.unwrap_or(0),
        replaceable: BTreeMap::new(),
        plan: Plan::default(),
    };
    if let Some(damage) = start.open_gap.filter(|gap| !is_diff(gap)) {
        planner.reached = planner.reached.max(damage.last);
    }
    for at in 0..items.len() {
        planner.at = at;
        planner.item()?;
    }
    planner.at = items.len();
    planner.end()?;
    Ok(planner.plan)
}

impl Planner<'_> {
    fn item(&mut self) -> Result<()> {
        let item = &self.items[self.at];
        self.hole =
            (self.prev.next() < item.first).then_some((self.prev.next(), item.first.previous()));
        (self.named, self.told, self.unsure) = (false, false, false);
        if self.diff.is_some() && self.goes_on(item)? {
            self.prev = self.prev.max(item.last);
            return Ok(());
        }
        if let Some(diff) = self.diff.take() {
            self.diff_ends_before(diff, item)?;
        }
        match &item.what {
            What::Unreadable => {}
            What::Proof if self.hole.is_none() => {}
            _ => self.approach(item)?,
        }
        if item.within {
            self.begin_within(item)?;
        } else {
            self.take(item)?;
        }
        self.account_for_hole();
        self.prev = self.prev.max(item.last);
        Ok(())
    }

    /// An item that is not within a diff, and all before it is dealt with.
    fn take(&mut self, item: &Item) -> Result<()> {
        match &item.what {
            What::Told(_) => {
                self.push(Step::Copy(self.at));
                self.covers(item.revision);
            }
            // Not followed by a snapshot diff.
            What::Opened(gap) if !is_diff(gap) => self.push(Step::Opened(*gap)),
            What::Closed(gap) if !is_diff(gap) => {
                self.push(Step::Closed(*gap));
                self.covers(gap.last);
            }
            What::Opened(gap) => self.diff = Some(Diff::new(*gap, item.after, Some(self.at))),
            What::Timeline(timeline) => self.begin(timeline, item.revision),
            What::Lost(span) => self.lost_before(item, *span)?,
            What::Header(kind) => self.header(item, *kind)?,
            What::Checkpoint(n) => {
                if self.regained && lacks_something(&self.checkpoints[*n]) {
                    self.plan.lacking.push(*n);
                } else {
                    self.push(Step::Checkpoint(*n));
                }
            }
            // Its end without its beginning.
            What::Closed(gap) => {
                let mut diff = Diff::new(*gap, item.after, None);
                diff.broken = true;
                self.finish(diff)?;
            }
            What::Entered(..) | What::Proof | What::Unreadable | What::Parts => {}
        }
        Ok(())
    }

    /// A record of which only the header is left.
    fn header(&mut self, item: &Item, kind: Kind) -> Result<()> {
        match kind {
            Kind::Changes => {
                self.hole = Some(self.with_hole(item));
                self.cover(item.revision.previous());
                self.fill_to(item.revision, true)?;
            }
            Kind::Lease | Kind::Watermark | Kind::Seal => {
                self.hole = Some(self.with_hole(item));
                self.cover(item.revision);
            }
            Kind::Timeline => {
                let id = self.lineage.name(item.tag).map(str::to_owned);
                let turn = id.and_then(|id| self.lineage.turn(&id).cloned());
                self.hole = Some(self.with_hole(item));
                match turn {
                    Some(turn) => {
                        let clean = turn.to.kept && item.revision >= self.reached;
                        self.begin(&turn.to, item.revision);
                        // The snapshot diff that leads there, if there was one, follows.
                        if !clean && item.revision > Revision::NONE {
                            self.lose_one(item.revision);
                        }
                    }
                    None => self.unnamed(item),
                }
            }
            // What it names lies before the next item.
            Kind::Lost => {
                self.hole = Some(self.with_hole(item));
                self.unsure = true;
            }
            Kind::Gap => {
                self.hole = Some(self.with_hole(item));
                let gap = gap_after(item.revision, UNKNOWN);
                let mut diff = Diff::new(gap, item.after, None);
                diff.gap.last = UNKNOWN;
                self.diff = Some(diff);
            }
        }
        Ok(())
    }

    /// Deals with all that lies between what was told and this item.
    fn approach(&mut self, item: &Item) -> Result<()> {
        self.turn(item)?;
        let before = item.after;
        if self.hole.is_some() && before < self.reached_here(item) {
            self.unnamed(item);
        }
        self.fill_to(before, false)
    }

    /// What an item must at least have before it, or else a timeline that took revisions back is
    /// missing. A header that was written behind a loss may know of less.
    fn reached_here(&self, item: &Item) -> Revision {
        match item.what {
            What::Told(_) | What::Opened(_) if !item.within && item.tag == self.life.tag => {
                self.newest
            }
            _ => UNKNOWN,
        }
    }

    /// What an earlier repair had to name as lost.
    pub(super) fn lost_before(&mut self, item: &Item, span: Option<Span>) -> Result<()> {
        let Some(span) = span else {
            return Ok(());
        };
        if takes_back(item) {
            self.life = Life {
                tag: item.tag,
                name: None,
            };
            self.push(Step::Unnamed(item.tag));
            self.push(Step::Lost {
                span: Some(span),
                taken_back: Some(item.revision),
            });
            self.reached = item.revision.max(span.last);
            self.newest = item.revision;
            (self.found, self.filled) = (None, None);
            return Ok(());
        }
        // What was guessed to be lost may have been told since.
        let next = self
            .items
            .get(self.at + 1)
            .filter(|next| next.first == item.last.next());
        let last = match next.map(|next| (&next.what, next.after)) {
            Some((What::Told(_), after)) => span.last.min(after.max(span.first.previous())),
            _ => span.last,
        };
        self.cover(span.first.previous());
        let Some(span) = Span::new(self.reached.next(), last) else {
            return Ok(());
        };
        self.fill_recorded(span)
    }
}
