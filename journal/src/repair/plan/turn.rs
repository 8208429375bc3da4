//! Timelines that began where the own journal has a hole.

use crate::{
    error::Result,
    format::{kind::Kind, position::TimelineTag},
    model::{ids::Revision, span::Span},
    repair::{
        catalog::{Item, What},
        lineage::{Turn, parent},
        plan::{
            decided::Step,
            planner::{Life, Planner, takes_back},
        },
    },
};

impl Planner<'_> {
    /// Which timelines began in the hole before this item.
    pub(super) fn turn(&mut self, item: &Item) -> Result<()> {
        let (tag, id) = match &item.what {
            What::Timeline(timeline) => match parent(timeline) {
                Some(parent) => (TimelineTag::of(Some(parent)), Some(parent.to_owned())),
                None => return Ok(()),
            },
            // They say nothing of it.
            What::Header(Kind::Timeline) | What::Entered(None, _) => return Ok(()),
            What::Checkpoint(_) if item.tag == TimelineTag::NONE => return Ok(()),
            // The timeline before the one that took revisions back.
            What::Lost(_) if takes_back(item) => return Ok(()),
            What::Entered(Some(timeline), _) => (item.tag, Some(timeline.id.clone())),
            _ => (item.tag, self.lineage.name(item.tag).map(str::to_owned)),
        };
        if tag == self.life.tag {
            if self.life.name.is_none() && self.life.tag != TimelineTag::NONE {
                self.life.name = id;
            }
            return Ok(());
        }
        let is_unnamed = self.life.name.is_none() && self.life.tag != TimelineTag::NONE;
        let says_more = matches!(item.what, What::Timeline(_) | What::Entered(..));
        if self.hole.is_none() && says_more {
            return Ok(());
        }
        if tag == TimelineTag::NONE {
            self.unnamed(item);
            return Ok(());
        }
        let from = self.life.name.as_deref();
        let path = id.as_deref().filter(|_| !is_unnamed);
        let path = path.and_then(|id| self.lineage.path(from, id));
        // What was lost before a timeline was known lies before that, or behind.
        let end = match item.what {
            What::Lost(Some(span)) => item.after.max(span.last),
            _ => item.after,
        };
        if let Some(turns) = path {
            for turn in turns {
                self.turn_to(&turn, end)?;
            }
            return Ok(());
        }
        let known = id.as_deref().and_then(|id| self.lineage.turn(id));
        match known.cloned() {
            Some(Turn { to, .. }) if to.kept && item.after >= self.reached => {
                let at = to.at.clamp(self.reached, item.after);
                self.fill_to(at, false)?;
                self.begin(&to, at);
            }
            Some(Turn { to, .. }) => {
                self.lose_the_rest();
                self.begin(&to, item.after);
                if let Some(all) = Span::new(Revision(1), item.after) {
                    self.lose(all, false);
                }
            }
            None => {
                let is_first = self.life.name.is_none() && !is_unnamed;
                self.unnamed(item);
                if is_first {
                    // Of the first one of all only the name is left.
                    self.life.name = id;
                }
            }
        }
        Ok(())
    }

    /// If more than the record of a timeline is missing, nobody says how much of the one before.
    pub(super) fn lose_the_rest(&mut self) {
        if self.hole.is_some_and(|(first, last)| first < last) {
            self.lose_one(self.reached.next());
        }
    }

    /// A timeline began here, and nobody knows its name.
    pub(super) fn unnamed(&mut self, item: &Item) {
        let takes_back = item.after < self.newest;
        if takes_back {
            self.lose_the_rest();
        }
        self.push(Step::Unnamed(item.tag));
        self.life = Life {
            tag: item.tag,
            name: None,
        };
        if takes_back {
            let span = Span::new(Revision(1), item.after);
            self.push(Step::Lost {
                span,
                taken_back: Some(item.after),
            });
            self.note(span, false, false);
            (self.reached, self.newest) = (item.after, item.after);
            (self.found, self.filled) = (span.map(|span| span.last), None);
        }
    }

    /// A timeline of which the record is lost, and `end` is covered by one of it, or of one behind
    /// it.
    pub(super) fn turn_to(&mut self, turn: &Turn, end: Revision) -> Result<()> {
        let to = &turn.to;
        let at = match (parent(to), to.kept) {
            // Whoever followed it first may have begun later than the journal.
            (None, _) => Revision::NONE,
            (Some(_), true) => to.at.min(end),
            (Some(_), false) => turn.begun.unwrap_or(Revision::NONE).min(end),
        };
        let upto = if to.kept { at } else { to.at };
        if parent(to).is_some() {
            if self.life.name.is_none() && self.life.tag == TimelineTag::NONE {
                // Of the first one of all only the name is left.
                let tag = TimelineTag::of(parent(to));
                self.push(Step::Unnamed(tag));
                self.life = Life {
                    tag,
                    name: parent(to).map(str::to_owned),
                };
            }
            self.fill_to(upto, false)?;
        }
        let clean = self.reached <= at && (to.kept || at == Revision::NONE && self.reached == at);
        self.begin(to, at);
        if !clean {
            // A snapshot diff led there, and it is lost.
            self.lose_one(at.max(Revision(1)));
        }
        Ok(())
    }
}
