//! The rules of the house that no compiler holds: which way imports go, and what a file looks like.
//!
//! # Arrows
//!
//! A file that uses what another one defines has an arrow to it. In every folder of a crate's
//! `src/` the arrows between its files and its folders must not form a circle; so none is there
//! between any two modules, and every crate can be read in one order. `mod` declarations are no
//! arrows. A folder's `mod.rs` is one of the folder's files: a child may use it, or it may use the
//! child, not both.
//!
//! Inside a crate a path names the module that defines a thing. A path that goes through a `pub
//! use` (of `lib.rs`, of a `mod.rs`, of anything) is an error, since an arrow could hide behind it;
//! so is a glob import of a module. Code under `#[cfg(test)]` may use anything of its crate.
//!
//! What is read: every `use`, every path with at least two segments, and such paths in the tokens
//! of macros and attributes, strings like `#[serde(with = "crate::x")]` included. What is not seen:
//! methods (a call of one names no module), and names that a macro makes up. A path that resolves
//! to nothing is an error too, so that the test cannot be wrong in silence.
//!
//! `CAIRN_ARROWS=1` prints the order in which each crate can be read.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod arrows;
mod canaries;
mod circles;
mod layout;
mod manifest;
mod modules;
mod resolve;
mod scan;
mod sources;

use std::fmt::Write as _;

use arrows::Arrows;
use sources::Sources;

#[test]
fn no_circle_and_no_import_through_a_re_export() {
    let mut failures = String::new();
    for package in manifest::packages() {
        for root in &package.roots {
            let arrows = Arrows::of(&Sources::read(root));
            if std::env::var_os("CAIRN_ARROWS").is_some() {
                println!("{}, {}:\n{}", package.name, root.display(), arrows.order());
            }
            for finding in arrows.findings() {
                writeln!(failures, "{}: {finding}", package.name).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
