//! Revisions that are known not to match a glob.

use cairn_client::Revision;

/// A stretch of revisions in which nothing matches.
///
/// A client that follows a glob keeps a window of waits on it, from revisions close together.
/// Where a glob has to be looked for event by event, this makes the look into the past one for
/// the whole window instead of one for each wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unmatched {
    /// Nothing matches from here
    from: Revision,
    /// up to, but not including, here.
    to: Revision,
}

impl Unmatched {
    /// Where to look for the first match at or after `from`.
    pub(crate) fn skip(self, from: Revision) -> Revision {
        if self.from <= from && from <= self.to {
            self.to
        } else {
            from
        }
    }

    /// Nothing at or after `from` matches before `to`.
    pub(crate) fn learn(&mut self, from: Revision, to: Revision) {
        let known = self.from <= from && from <= self.to;
        let from = if known { self.from } else { from };
        *self = Self { from, to };
    }
}
