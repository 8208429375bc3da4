//! Gaps' snapshot diffs: whether one is whole, and what becomes of one that is not.

use crate::{
    error::Result,
    format::kind::Kind,
    model::{entry::Gap, ids::Revision, span::Span},
    repair::{
        catalog::{Item, UNKNOWN, What},
        donor::Piece,
        plan::{
            decided::Step,
            planner::{Diff, Life, Planner, gap_after},
        },
    },
};

impl Planner<'_> {
    /// Whether an item belongs to the diff under way.
    pub(super) fn goes_on(&mut self, item: &Item) -> Result<bool> {
        let hole = self.hole.is_some();
        let diff = self.diff.as_mut().expect("the caller looked");
        match &item.what {
            What::Entered(..) if item.within => {
                diff.breaks(self.hole);
                return Ok(true);
            }
            // Nobody knows what was in it; what comes behind it may go on with this one.
            What::Unreadable => {
                diff.breaks(self.hole);
                diff.broken = true;
                return Ok(true);
            }
            What::Opened(gap) if item.within && (!hole || diff.holds(item)) => {
                // What there is of it does not count: it was begun anew.
                let timeline = diff.timeline.take();
                let headless = diff.headless && !hole;
                *diff = Diff::new(*gap, diff.before, Some(self.at));
                diff.timeline = timeline;
                diff.headless = headless;
                self.account_for_hole();
                return Ok(true);
            }
            _ if !item.within || hole && !diff.holds(item) => return Ok(false),
            _ => {}
        }
        if diff.gap.last == UNKNOWN && matches!(item.what, What::Parts) {
            diff.gap.last = item.revision;
        }
        diff.breaks(self.hole);
        match &item.what {
            What::Parts => diff.parts.push(self.at),
            What::Timeline(timeline) => diff.timeline = Some((timeline.clone(), item.revision)),
            What::Closed(gap) => {
                diff.gap = *gap;
                return self.finish_diff();
            }
            What::Lost(None) | What::Header(Kind::Watermark | Kind::Seal) => {}
            What::Lost(Some(_)) => {
                diff.recorded = !diff.broken;
                diff.broken = true;
                return self.finish_diff();
            }
            What::Header(Kind::Lost) => {
                diff.breaks(Some((item.first, item.last)));
                return self.finish_diff();
            }
            What::Header(Kind::Gap) if item.revision > item.after => return self.finish_diff(),
            What::Header(Kind::Gap) => {
                diff.parts.clear();
                diff.broken = false;
                diff.gap = gap_after(item.revision, UNKNOWN);
            }
            What::Header(_) => diff.breaks(Some((item.first, item.last))),
            // All that it says is that what is missing was there.
            What::Proof => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn finish_diff(&mut self) -> Result<bool> {
        let diff = self.diff.take().expect("the caller has it");
        self.finish(diff)?;
        self.account_for_hole();
        Ok(true)
    }

    /// The item does not belong to the diff under way, so that ended before it.
    pub(super) fn diff_ends_before(&mut self, mut diff: Diff, item: &Item) -> Result<()> {
        let one = self.hole.is_some_and(|(first, last)| first == last);
        if diff.gap.last == UNKNOWN {
            diff.gap.last = item.after.max(diff.before.next());
        }
        let over = item.after >= diff.gap.last;
        if one && over && !diff.broken && !item.within && !matches!(item.what, What::Unreadable) {
            // All of it is there: only its end can have been here.
            self.finish(diff)?;
            self.make_good();
        } else if matches!(item.what, What::Opened(_))
            && item.after == diff.before
            && diff.timeline.is_none()
        {
            // It was begun anew: nothing of this one counts.
        } else {
            diff.broken = true;
            diff.breaks(self.hole.filter(|_| !over));
            self.finish(diff)?;
        }
        Ok(())
    }

    /// The first item that is left of a diff whose opening is lost.
    pub(super) fn begin_within(&mut self, item: &Item) -> Result<()> {
        let one = self.hole.is_some_and(|(first, last)| first == last);
        let gap = match &item.what {
            What::Opened(gap) => {
                self.diff = Some(Diff::new(*gap, item.after, Some(self.at)));
                return Ok(());
            }
            What::Lost(span) => return self.lost_before(item, *span),
            What::Header(Kind::Watermark | Kind::Seal | Kind::Lost) | What::Proof => return Ok(()),
            What::Closed(gap) | What::Entered(_, Some(gap)) => *gap,
            What::Parts => gap_after(item.after, item.revision),
            What::Header(Kind::Changes) => gap_after(item.after, item.revision),
            What::Header(Kind::Gap) if item.revision > item.after => {
                gap_after(item.after, item.revision)
            }
            _ => gap_after(item.after, UNKNOWN),
        };
        let mut diff = Diff::new(gap, item.after, None);
        // One record is missing before it: the opening, and nothing else.
        let tells = matches!(
            item.what,
            What::Parts | What::Closed(_) | What::Timeline(_) | What::Entered(..)
        );
        let whole = one && tells;
        diff.broken = !whole && !matches!(item.what, What::Header(Kind::Gap));
        if whole {
            self.make_good();
        } else if diff.broken {
            diff.breaks(self.hole.take());
        }
        match &item.what {
            What::Parts => diff.parts.push(self.at),
            What::Timeline(timeline) => diff.timeline = Some((timeline.clone(), item.revision)),
            What::Closed(_) => return self.finish(diff),
            What::Header(Kind::Gap) if item.revision > item.after => {
                diff.broken = true;
                return self.finish(diff);
            }
            _ => {}
        }
        self.diff = Some(diff);
        Ok(())
    }

    /// A gap's snapshot diff, as far as there is anything left of it.
    pub(super) fn finish(&mut self, mut diff: Diff) -> Result<()> {
        if diff.gap.last == UNKNOWN {
            diff.gap.last = diff.before.next();
        }
        if let Some((first, _)) = diff.missing {
            let last = self.hole.map_or(diff.missing, |hole| Some((first, hole.1)));
            self.hole = last;
        }
        if self.replace(&diff)? {
            return Ok(());
        }
        let heals = diff.gap.first <= self.reached;
        let mut first = diff.gap.first;
        if diff.timeline.is_some() {
            // Revisions of two timelines are not compared.
            diff.broken |= self.found.is_some();
        } else {
            // What was given back is not in the state that the diff was taken from. What this
            // repair found to be lost was in it: the diff does not make that good.
            diff.broken |= heals && self.filled.is_some_and(|filled| filled >= first);
            let found = self.found.filter(|found| *found >= first);
            first = found.map_or(first, Revision::next);
            diff.broken |= first > diff.gap.last;
        }
        if diff.broken {
            return self.broken(&diff);
        }
        let gap = Gap { first, ..diff.gap };
        self.write_parts(&diff, gap, None);
        self.push(Step::Closed(gap));
        if let Some((timeline, _)) = &diff.timeline {
            self.enter(timeline, gap.last);
        }
        self.covers(gap.last);
        Ok(())
    }

    /// Tells everything that a diff stands for singly, if all of it is known.
    pub(super) fn replace(&mut self, diff: &Diff) -> Result<bool> {
        let heals = diff.timeline.is_none() && diff.gap.first <= self.reached;
        let may = match diff.opened {
            Some(opened) if heals => self.is_replaceable(opened)?,
            _ => !heals,
        };
        if !may || self.donors.is_empty() {
            return Ok(false);
        }
        let (mut before, mut from) = (Vec::new(), self.reached);
        let mut life = self.life.clone();
        if let Some((timeline, at)) = &diff.timeline {
            if !timeline.kept || *at < from {
                return Ok(false);
            }
            before = self.survey_of(&life, from, *at)?;
            (from, life) = (*at, Life::of(timeline));
        }
        let behind = self.survey_of(&life, from, diff.gap.last)?;
        if before
            .iter()
            .chain(&behind)
            .any(|piece| piece.donor.is_none())
        {
            return Ok(false);
        }
        for piece in before {
            self.tell(&piece);
        }
        if let Some((timeline, at)) = &diff.timeline {
            self.begin(timeline, *at);
        }
        for piece in behind {
            self.tell(&piece);
        }
        Ok(true)
    }

    pub(super) fn write_parts(&mut self, diff: &Diff, gap: Gap, upto: Option<Revision>) {
        if !diff.headless {
            self.push(Step::Opened(gap));
        }
        if let Some((timeline, at)) = &diff.timeline {
            self.push(Step::Timeline(timeline.clone(), *at));
        }
        for part in &diff.parts {
            self.push(Step::Parts(*part, upto));
        }
    }

    /// A diff of which a part is lost. What is known singly is told; behind that comes what is left
    /// of it, with the loss in its place.
    pub(super) fn broken(&mut self, diff: &Diff) -> Result<()> {
        let mut pieces = Vec::new();
        let from = match &diff.timeline {
            Some((timeline, at)) => {
                let clean = timeline.kept && *at >= self.reached;
                if clean {
                    self.fill_to(*at, false)?;
                }
                self.begin(timeline, *at);
                if !clean && let Some(span) = Span::new(at.next(), diff.gap.last) {
                    pieces.push(Piece { span, donor: None });
                }
                *at
            }
            None => self.reached,
        };
        if pieces.is_empty()
            && let Some(span) = Span::new(from.next(), diff.gap.last)
        {
            pieces = self.survey(span)?;
        }
        let last = pieces.iter().rposition(|piece| piece.donor.is_none());
        let Some(last) = last else {
            // All is told, but not the state that it was to lead to.
            for piece in &pieces {
                self.tell(piece);
            }
            let last = diff.gap.last;
            self.rest_of(diff, Span { first: last, last }, None);
            return Ok(());
        };
        for (i, piece) in pieces.iter().enumerate() {
            if self.tell(piece) {
            } else if i == last {
                let upto = (piece.span.last < diff.gap.last).then_some(piece.span.last);
                self.rest_of(diff, piece.span, upto);
            } else {
                self.lose(piece.span, false);
            }
        }
        Ok(())
    }

    /// What is left of a broken diff, and the loss of what nobody knows of its gap.
    pub(super) fn rest_of(&mut self, diff: &Diff, span: Span, upto: Option<Revision>) {
        let gap = Gap {
            first: span.first,
            last: span.last,
            ..diff.gap
        };
        let bare = Diff {
            timeline: None,
            headless: false,
            ..diff.clone()
        };
        if !bare.parts.is_empty() {
            self.write_parts(&bare, gap, upto);
        }
        self.push(Step::lost(span));
        self.reached = self.reached.max(span.last);
        if !diff.recorded {
            self.note(Some(span), false, false);
            self.found = self.found.max(Some(span.last));
        }
    }

    /// The opening of the whole snapshot diff that has made good what is lost here.
    pub(super) fn healed_by(&self) -> Option<usize> {
        let What::Lost(Some(lost)) = self.items[self.at].what else {
            return None;
        };
        let mut opened = None;
        let mut expected = None;
        for (at, item) in self.items.iter().enumerate().skip(self.at + 1) {
            let goes_on = expected.is_some_and(|expected| item.first == expected);
            match &item.what {
                What::Timeline(_) if !item.within => return None,
                What::Opened(gap) => opened = Some((at, *gap)),
                What::Closed(gap) if goes_on && gap.first <= lost.first => {
                    if let Some((at, _)) = opened {
                        return Some(at);
                    }
                }
                _ if !goes_on || !item.within => opened = None,
                _ => {}
            }
            expected = Some(item.last.next());
        }
        None
    }

    /// Whether everything that a gap's snapshot diff stands for is known singly, so that it is not
    /// needed.
    pub(super) fn is_replaceable(&mut self, opened: usize) -> Result<bool> {
        if let Some(known) = self.replaceable.get(&opened) {
            return Ok(*known);
        }
        let What::Opened(gap) = self.items[opened].what else {
            return Ok(false);
        };
        let behind = &self.items[opened + 1..];
        let end = behind
            .iter()
            .position(|item| matches!(item.what, What::Closed(_)));
        let marker = |item: &Item| matches!(item.what, What::Timeline(_));
        let mut is_so = !behind[..end.unwrap_or(0)].iter().any(marker);
        let mut spans: Vec<Option<Span>> =
            vec![Span::new(self.items[opened].after.next(), gap.last)];
        for item in self.items[..opened].iter().rev() {
            match item.what {
                What::Lost(Some(span)) if span.last >= gap.first => spans.push(Some(span)),
                What::Timeline(_) => break,
                _ => {}
            }
        }
        for span in spans.into_iter().flatten() {
            is_so = is_so && self.survey(span)?.iter().all(|piece| piece.donor.is_some());
        }
        self.replaceable.insert(opened, is_so);
        Ok(is_so)
    }
}
