//! `cairn playground` as a browser sees it, over HTTP, with real processes.

mod ends;
mod etcd;
mod gate;
mod losses;
mod past;
mod program;
mod streams;
