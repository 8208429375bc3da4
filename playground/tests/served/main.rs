//! `cairn playground` as a browser sees it, over HTTP, with real processes.

mod ends;
mod etcd;
mod gate;
mod losses;
mod past;
#[path = "../common/processes.rs"]
mod processes;
mod program;
mod streams;
