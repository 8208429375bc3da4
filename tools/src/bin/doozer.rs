//! `doozer`: a command-line client.
fn main() {}
