//! What a connection works with, kept for the next one while it waits.
//!
//! An idle connection holds no buffer, so that ten thousand of them cost little. But taking 64 KiB
//! for every burst of requests, and giving them back, has the allocator merge and split its small
//! pieces each time. So each thread keeps a few sets.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;
use cairn_client::wire::Request;

use crate::verbs::Reply;

/// Sets that a thread keeps.
const KEPT: usize = 4;

/// A larger buffer is not kept.
const KEPT_BYTES: usize = 256 << 10;

/// Buffers of a connection at work, all of them empty between two uses.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) input: BytesMut,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) replies: VecDeque<Reply>,
}

thread_local! {
    static SPARE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

impl Buffers {
    /// Some that were used before, if this thread has any.
    pub(crate) fn take() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives them back, empty.
    pub(crate) fn give_back(mut self) {
        if self.input.capacity() > KEPT_BYTES || self.input.capacity() == 0 {
            return;
        }
        self.input.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(self);
            }
        });
    }
}
