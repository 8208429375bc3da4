//! The one thread that starts children.
//!
//! The signal that ends a child with its parent fires when the *thread* that started it ends, not
//! the program. Runtimes end idle threads, so every child is started by this thread, which never
//! ends.

use std::io;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;

struct Request {
    command: Command,
    answer: mpsc::SyncSender<io::Result<Child>>,
}

/// How many starts may wait for their turn; further callers wait before they have asked.
const WAITING: usize = 64;

/// Starts a child on the thread that lives as long as the program.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    static NURSERY: OnceLock<Option<mpsc::SyncSender<Request>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts processes cannot be started");
    let nursery = NURSERY.get_or_init(start).as_ref().ok_or_else(gone)?;
    let (answer, answered) = mpsc::sync_channel(1);
    let request = Request { command, answer };
    nursery.send(request).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn start() -> Option<mpsc::SyncSender<Request>> {
    let (requests, queue) = mpsc::sync_channel::<Request>(WAITING);
    let serve = move || {
        // The sender is static, so the queue never ends.
        for Request {
            mut command,
            answer,
        } in queue
        {
            // Who asked has gone only if it panicked; its child is dropped, and so killed by nobody
            // but the end of the program.
            let _ = answer.send(command.spawn());
        }
    };
    let thread = thread::Builder::new()
        .name("nursery".to_owned())
        .spawn(serve);
    thread.ok().map(|_| requests)
}
