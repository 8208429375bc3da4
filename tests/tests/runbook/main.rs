//! `docs/operations.md` and `docs/etcd.md`, tried as written: the commands are taken from the page,
//! run on real processes, and must print what the page says.
//!
//! Each test is one situation. It makes the situation, then follows the page, and at last looks
//! whether what the page promises has come true.

mod etcd;
mod page;
mod shell;
mod situations;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// The sections that have commands, each with how many blocks of them. Each is played by a test in
/// `situations`.
const OPERATIONS: [(&str, usize); 9] = [
    ("The commands on this page", 1),
    ("The bad day: restoring", 3),
    ("All members of etcd are lost", 3),
    ("An older state", 2),
    ("Undoing a mistake", 1),
    ("Giving an older state back", 1),
    ("Rehearsing", 1),
    ("A damaged journal", 2),
    ("Setting up", 1),
];

/// Each is played by a test in `etcd`.
const ETCD: [(&str, usize); 7] = [
    ("Beside a cluster", 1),
    ("Rights", 1),
    ("A cluster that is not ours", 2),
    ("Beside Kubernetes", 1),
    ("Restore to a snapshot file", 1),
    ("Restore by writes", 1),
    ("A journal from a backup", 1),
];

/// No command is added to a page without being tried.
#[test]
fn every_command_of_the_pages_is_tried() -> Result<()> {
    for (page, played) in [("operations.md", &OPERATIONS[..]), ("etcd.md", &ETCD)] {
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        for block in page::blocks(page)? {
            match &*block.language {
                // What sets the variables runs at the beginning of each test.
                "sh" if block.heading == "The commands on this page" => {}
                "console" | "sh" => *shown.entry(block.heading).or_default() += 1,
                language => ensure!(
                    ["toml", "text"].contains(&language),
                    "{page}, {}: a block of {language}",
                    block.heading
                ),
            }
        }
        let played = played
            .iter()
            .map(|(heading, blocks)| ((*heading).to_owned(), *blocks));
        ensure!(shown == played.collect(), "{page}: {shown:#?}");
    }
    Ok(())
}
