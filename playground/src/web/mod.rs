//! What a browser sees of a playground: a page, one event stream, and calls in JSON.
//!
//! | module | promise |
//! |---|---|
//! | `gate` | nobody but the page of this very run gets an answer, and no other site can frame or read it |
//! | `assets` | the files of the page, in one table, within this program |
//! | `api` | every call names a target by its id and a command by its name; nothing else gets in |
//! | `stream` | a slow reader misses lines; it costs no memory |
//! | `answer` | a refusal is a status and a sentence |
//! | `query` | the parameters of a GET |
//! | `link` | the key is in no command line, and is not sent by following the link |
//! | `listen` | loopback only; the next port where one is taken |
//!
//! Promises: a GET changes nothing. Connections, streams, bodies and answers are bounded. The end
//! waits for nobody: streams end with the token that the caller cancels.

mod answer;
mod api;
mod assets;
mod gate;
pub mod link;
pub mod listen;
mod query;
pub mod serve;
pub mod shared;
mod stream;
