//! Writing beside reading: while one thread makes text, another writes the text that is ready.
//!
//! Promises: bytes go out in the order in which they were given. [`BackgroundWriter::flush`]
//! returns once all of them are out. After an error nothing more is written, and the next call
//! returns the error, once. Text of less than a chunk is written without a second thread.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// Bytes of text that are written together: large enough that the cost of a write to a pipe (64 KiB
/// on Linux) and of waking the other thread is spread, small enough to stay in a cache.
const CHUNK_BYTES: usize = 256 << 10;

/// So many chunks may be on their way: one that is being written, one that is ready.
const IN_FLIGHT: usize = 2;

/// Where text goes.
pub(crate) struct BackgroundWriter<'scope, 'env, W> {
    scope: &'scope Scope<'scope, 'env>,
    way: Way<W>,
    /// Text that is not on its way yet. The caller appends to it, and calls
    /// [`BackgroundWriter::offer`] now and then.
    pub(crate) text: Vec<u8>,
}

enum Way<W> {
    /// In this thread, as long as there is less than a chunk.
    Here(W),
    There(Link),
    /// An error ended it.
    Closed,
}

/// The way to the thread that writes.
struct Link {
    chunks: SyncSender<Vec<u8>>,
    /// Each chunk comes back, to be used again, with what became of it.
    back: Receiver<(Vec<u8>, io::Result<()>)>,
    in_flight: usize,
}

impl<'scope, 'env, W: Write + Send + 'scope> BackgroundWriter<'scope, 'env, W> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, to: W) -> Self {
        Self {
            scope,
            way: Way::Here(to),
            text: Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2)),
        }
    }

    /// Sends the text off once it is a chunk.
    pub(crate) fn offer(&mut self) -> io::Result<()> {
        if self.text.len() < CHUNK_BYTES {
            return Ok(());
        }
        if let Way::Here(_) = self.way
            && let Way::Here(to) = std::mem::replace(&mut self.way, Way::Closed)
        {
            self.way = Way::There(Link::start(self.scope, to));
        }
        let Way::There(link) = &mut self.way else {
            return Err(closed());
        };
        let given = link.give(std::mem::take(&mut self.text));
        self.text = self.keep(given)?;
        Ok(())
    }

    /// Returns once everything is out.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let done = match &mut self.way {
            Way::Here(to) => to.write_all(&self.text).and_then(|()| to.flush()),
            Way::There(link) => link.finish(std::mem::take(&mut self.text)),
            Way::Closed => Err(closed()),
        };
        self.text.clear();
        self.keep(done)
    }

    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.way = Way::Closed;
        }
        result
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write failed")
}

impl Link {
    fn start<'scope, W: Write + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        mut to: W,
    ) -> Self {
        let (chunks, given) = sync_channel::<Vec<u8>>(IN_FLIGHT);
        let (done, back) = sync_channel(IN_FLIGHT);
        scope.spawn(move || {
            for mut chunk in given {
                let written = to.write_all(&chunk).and_then(|()| to.flush());
                chunk.clear();
                // Nobody asks any more: the other side has ended with an error of its own.
                if done.send((chunk, written)).is_err() {
                    return;
                }
            }
        });
        Self {
            chunks,
            back,
            in_flight: 0,
        }
    }

    /// Gives a chunk on its way, and returns an empty one.
    fn give(&mut self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let empty = if self.in_flight == IN_FLIGHT {
            self.take_back()?
        } else {
            Vec::with_capacity(chunk.capacity())
        };
        self.in_flight += 1;
        self.chunks.send(chunk).map_err(|_| closed())?;
        Ok(empty)
    }

    fn take_back(&mut self) -> io::Result<Vec<u8>> {
        let (chunk, written) = self.back.recv().map_err(|_| closed())?;
        self.in_flight -= 1;
        written?;
        Ok(chunk)
    }

    fn finish(&mut self, last: Vec<u8>) -> io::Result<()> {
        self.give(last)?;
        while self.in_flight > 0 {
            self.take_back()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Until<'a>(&'a mut Vec<u8>, usize);

    impl Write for Until<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1 - self.0.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(room);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines until `room` is full; returns how many, and what was written.
    fn fill(room: usize, lines: usize, flush_every: usize) -> (Vec<u8>, io::Result<()>) {
        let mut written = Vec::new();
        let result = std::thread::scope(|scope| {
            let mut out = BackgroundWriter::new(scope, Until(&mut written, room));
            for n in 0..lines {
                writeln!(out.text, "{n:0100}")?;
                out.offer()?;
                if n % flush_every == 0 {
                    out.flush()?;
                    assert!(out.text.is_empty());
                }
            }
            out.flush()
        });
        (written, result)
    }

    #[test]
    fn everything_goes_out_in_order() {
        let expected = |lines| -> String { (0..lines).map(|n| format!("{n:0100}\n")).collect() };
        for (lines, flush_every) in [(0, 1), (10, 3), (30_000, usize::MAX), (30_000, 7_001)] {
            let (written, result) = fill(usize::MAX, lines, flush_every);
            result.unwrap();
            assert!(written == expected(lines).into_bytes(), "{lines} lines");
        }
    }

    #[test]
    fn an_error_ends_it_and_what_went_before_is_out() {
        for room in [0, 1, 50_000, CHUNK_BYTES, 3 * CHUNK_BYTES + 1] {
            let (written, result) = fill(room, 30_000, usize::MAX);
            assert_eq!(written.len(), room);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
