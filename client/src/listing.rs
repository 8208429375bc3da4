//! Listings: streams of all entries at one revision.
//!
//! The protocol lists one entry a request, by its offset, so a listing is pinned to a revision,
//! where offsets stand still, and asks for a window of offsets at once. The window doubles from a
//! few entries on, so that a short listing does not ask far beyond its end.
//!
//! When the server discards the revision, a new one is pinned and the place after the last entry
//! is looked for: entries are in order, so that takes a few requests, not the whole listing.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::answer::{self, Event, broken};
use crate::caller::Caller;
use crate::error::{Error, ErrorCode, Result};
use crate::glob::Glob;
use crate::path;
use crate::queue::{Call, Class};
use crate::revision::Revision;
use crate::wire::{Request, Response, Verb};

/// Entries that are asked for at first.
const FIRST_WINDOW: usize = 4;

/// No listing has more entries: a node holds them all in memory.
const ENTRIES_MAX: i32 = 1 << 26;

/// So many pins in a row may be discarded before they yield a single entry. A server whose
/// history is shorter than a round trip can keep that up for ever.
const FRUITLESS_PINS_MAX: u32 = 16;

/// All files whose path matches, from [`Client::walk`](crate::Client::walk).
pub struct Walk(BoxStream<'static, Result<Event>>);

impl Walk {
    pub(crate) fn new(caller: Caller, glob: &str, at: Option<Revision>) -> Self {
        let invalid = Glob::parse(glob).err().map(Error::from);
        let cursor = Cursor::new(caller, Verb::Walk, glob, at, invalid);
        Self(entries(cursor))
    }
}

/// All names in a directory, from [`Client::getdir`](crate::Client::getdir).
pub struct Listing(BoxStream<'static, Result<String>>);

impl Listing {
    pub(crate) fn new(caller: Caller, path: &str, at: Option<Revision>) -> Self {
        let window = caller.options().list_window;
        Self::with_window(caller, path, at, window)
    }

    /// Asks for this many entries at once at most.
    pub(crate) fn with_window(
        caller: Caller,
        path: &str,
        at: Option<Revision>,
        window: usize,
    ) -> Self {
        let mut cursor = Cursor::new(caller, Verb::Getdir, path, at, None);
        cursor.window_max = cursor.window_max.min(window.max(1));
        Self(entries(cursor))
    }
}

macro_rules! delegate_stream {
    ($stream:ident, $item:ty) => {
        impl Stream for $stream {
            type Item = Result<$item>;

            fn poll_next(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.0.poll_next_unpin(cx)
            }
        }

        impl fmt::Debug for $stream {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($stream)).finish_non_exhaustive()
            }
        }
    };
}

delegate_stream!(Walk, Event);
delegate_stream!(Listing, String);

/// An entry of a listing.
trait ListingEntry: Sized + Send + 'static {
    fn from_response(path: &str, response: Response) -> Result<Self>;
    /// The text by which entries are ordered.
    fn key(&self) -> &str;
}

impl ListingEntry for Event {
    fn from_response(path: &str, response: Response) -> Result<Self> {
        answer::event(Verb::Walk, path, response)
    }

    fn key(&self) -> &str {
        &self.path
    }
}

impl ListingEntry for String {
    fn from_response(path: &str, response: Response) -> Result<Self> {
        answer::name(path, response)
    }

    fn key(&self) -> &str {
        self
    }
}

fn entries<I: ListingEntry>(cursor: Cursor) -> BoxStream<'static, Result<I>> {
    let step = |cursor: Option<Cursor>| async {
        let mut cursor = cursor?;
        match cursor.next::<I>().await {
            Ok(Some(item)) => Some((Ok(item), Some(cursor))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    };
    stream::unfold(Some(cursor), step).boxed()
}

/// Where a listing stands.
struct Cursor {
    caller: Caller,
    verb: Verb,
    path: String,
    /// Whether the caller chose the revision.
    chosen: bool,
    pin: Option<Revision>,
    /// The offset of the next entry to return, and of the next one to ask for.
    offset: i32,
    ask: i32,
    calls: VecDeque<Call>,
    window: usize,
    window_max: usize,
    last: Option<String>,
    /// Whether all entries came in the order that finding a place again relies on.
    in_order: bool,
    fruitless_pins: u32,
    invalid: Option<Error>,
}

impl Cursor {
    fn new(
        caller: Caller,
        verb: Verb,
        path: &str,
        at: Option<Revision>,
        invalid: Option<Error>,
    ) -> Self {
        let window_max = caller.options().list_window.max(1);
        Self {
            caller,
            verb,
            path: path.to_owned(),
            chosen: at.is_some(),
            pin: at,
            offset: 0,
            ask: 0,
            calls: VecDeque::new(),
            window: FIRST_WINDOW.min(window_max),
            window_max,
            last: None,
            in_order: true,
            fruitless_pins: 0,
            invalid,
        }
    }

    async fn next<I: ListingEntry>(&mut self) -> Result<Option<I>> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        loop {
            match self.advance::<I>().await {
                Ok(item) => {
                    if let Some(item) = &item {
                        self.remember(item.key())?;
                    }
                    return Ok(item);
                }
                Err(error) if error.is_too_late() && self.may_pin_again() => {
                    self.fruitless_pins += 1;
                    self.calls.clear();
                    self.pin = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next entry at the pinned revision, after pinning one if there is none.
    async fn advance<I: ListingEntry>(&mut self) -> Result<Option<I>> {
        if self.pin.is_none() {
            let pin = self.caller.rev().await?;
            self.pin = Some(pin);
            self.offset = self.place_after_last::<I>().await?;
            self.ask = self.offset;
        }
        while self.calls.len() < self.window.min(self.window_max) {
            let call = self.submit(self.ask)?;
            self.calls.push_back(call);
            self.ask = self.ask.saturating_add(1);
        }
        let call = self.calls.pop_front().expect("a window is never empty");
        self.window = (self.window * 2).min(self.window_max);
        self.entry(call).await
    }

    /// A server that means well ends its listing, and has no entry twice.
    fn remember(&mut self, key: &str) -> Result<()> {
        let last = self.last.as_deref();
        if last == Some(key) || self.offset >= ENTRIES_MAX {
            let detail = format!("the listing does not end: entry {} is {key:?}", self.offset);
            return Err(broken(self.verb, &self.path, detail));
        }
        self.in_order &= last.is_none_or(|last| path::compare(last, key) == Ordering::Less);
        self.last = Some(key.to_owned());
        self.offset = self.offset.saturating_add(1);
        self.fruitless_pins = 0;
        Ok(())
    }

    fn may_pin_again(&self) -> bool {
        !self.chosen && self.fruitless_pins < FRUITLESS_PINS_MAX
    }

    fn submit(&self, offset: i32) -> Result<Call> {
        let request = Request {
            path: Some(self.path.clone()),
            offset: Some(offset),
            rev: self.pin.map(|pin| pin.0),
            ..Request::default()
        };
        // The caller's revision may be yet to come, ours is there.
        let class = if self.chosen {
            Class::Blocking
        } else {
            Class::Prompt
        };
        self.caller.submit(self.verb, request, class)
    }

    /// One entry; `None`: the listing has ended before it.
    async fn entry<I: ListingEntry>(&self, call: Call) -> Result<Option<I>> {
        let answered = if self.chosen {
            self.caller.understand(self.verb, &self.path, call.await)
        } else {
            self.caller
                .within_deadline(self.verb, &self.path, call)
                .await
        };
        match answered {
            Ok(response) => I::from_response(&self.path, response).map(Some),
            Err(error) => match error.code() {
                Some(ErrorCode::Range) => Ok(None),
                // Between two pins, the rest of the directory has gone, and it with it.
                Some(ErrorCode::NoEnt) if self.last.is_some() => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// The offset of the first entry after the last one that was returned.
    async fn place_after_last<I: ListingEntry>(&self) -> Result<i32> {
        let Some(last) = &self.last else {
            return Ok(0);
        };
        if !self.in_order {
            let detail = "the listing is not in order, so it cannot go on after its revision \
                          was discarded";
            return Err(broken(self.verb, &self.path, detail.to_owned()));
        }
        // Look around the old place first, in steps that double.
        let (mut low, mut high, mut step) = (0, i32::MAX, 1);
        let mut probe = self.offset;
        while low < high {
            if self.is_after::<I>(probe, last).await? {
                high = probe;
                probe = high.saturating_sub(step).max(low);
            } else {
                low = probe.saturating_add(1);
                probe = low.saturating_add(step - 1).min(high.saturating_sub(1));
            }
            step = step.saturating_mul(2);
            if low > 0 && high < i32::MAX {
                probe = low + (high - low) / 2;
            }
        }
        Ok(low)
    }

    /// Whether the entry at an offset comes after `last`, as does the end of the listing.
    async fn is_after<I: ListingEntry>(&self, offset: i32, last: &str) -> Result<bool> {
        let entry: Option<I> = self.entry(self.submit(offset)?).await?;
        Ok(entry.is_none_or(|entry| path::compare(last, entry.key()) == Ordering::Less))
    }
}
