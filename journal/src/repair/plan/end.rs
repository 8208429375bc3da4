//! The end of the own journal, and what donors know behind it.

use crate::{
    error::Result,
    format::position::TimelineTag,
    model::{entry::Gap, ids::Revision},
    repair::{
        catalog::What,
        lineage::Turn,
        plan::planner::{Life, Planner},
    },
};

/// The newest revision that there can be.
const ENDLESS: Revision = Revision(i64::MAX - 1);

impl Planner<'_> {
    /// The end of the journal, and what donors know behind it.
    pub(super) fn end(&mut self) -> Result<()> {
        self.hole = None;
        let last = self.items.last().map(|item| &item.what);
        let unreadable = self.unsure || matches!(last, Some(What::Unreadable));
        if let Some(mut diff) = self.diff.take() {
            let life = self.life.clone();
            let known = diff.timeline.is_none() && self.knows_behind(&life, self.reached)?;
            if unreadable || diff.broken || known {
                diff.broken = true;
                self.finish(diff)?;
            } else {
                // Whoever goes on begins it anew.
                let last = diff.gap.last.max(diff.before.next());
                self.write_parts(&diff, Gap { last, ..diff.gap }, None);
                return Ok(());
            }
        }
        let steps = self.plan.steps.len();
        self.beyond()?;
        if unreadable && self.plan.steps.len() == steps {
            self.lose_one(self.reached.next());
        }
        Ok(())
    }

    fn knows_behind(&mut self, life: &Life, revision: Revision) -> Result<bool> {
        let pieces = self.survey_of(life, revision, ENDLESS)?;
        Ok(pieces.iter().any(|piece| piece.donor.is_some()))
    }

    /// Whatever donors know behind the end, to the last that they know. What is between was lost by
    /// all.
    fn beyond(&mut self) -> Result<()> {
        if self.donors.is_empty() {
            return Ok(());
        }
        let mut told = Vec::new();
        let mut keep = 0;
        if self.life.name.is_none() {
            let root = self.lineage.only_child(None).cloned();
            match root {
                // Not even the beginning is left.
                Some(root)
                    if self.life.tag == TimelineTag::NONE && self.reached <= Revision::NONE =>
                {
                    self.begin(&root.to, self.reached);
                }
                _ => return Ok(()),
            }
        }
        let (mut life, mut from) = (self.life.clone(), self.reached);
        loop {
            let turn = self.only_way_on(&life, from)?;
            let last = turn.as_ref().map_or(ENDLESS, |turn| turn.to.at);
            for piece in self.survey_of(&life, from, last)? {
                told.push(Ok(piece));
                if piece.donor.is_some() {
                    keep = told.len();
                }
            }
            let Some(turn) = turn else {
                break;
            };
            (life, from) = (Life::of(&turn.to), turn.to.at);
            told.push(Err(turn));
            keep = told.len();
        }
        told.truncate(keep);
        for next in told {
            match next {
                Ok(piece) => {
                    if !self.tell(&piece) {
                        self.lose(piece.span, false);
                    }
                }
                Err(turn) => {
                    self.begin(&turn.to, turn.to.at);
                    self.plan.fills = true;
                }
            }
        }
        Ok(())
    }

    /// The timeline behind this one, if all who went on from there agree on it: nobody knows of
    /// another, or of anything that this one counted behind its end.
    fn only_way_on(&mut self, life: &Life, from: Revision) -> Result<Option<Turn>> {
        let turn = self.lineage.only_child(life.name.as_deref()).cloned();
        let Some(turn) = turn.filter(|turn| turn.to.kept && turn.to.at >= from) else {
            return Ok(None);
        };
        let more = self.knows_behind(life, turn.to.at)?;
        Ok((!more).then_some(turn))
    }
}
