//! `docs/operations.md`, tried as written: the commands are taken from the page, run on real
//! processes, and must print what the page says.
//!
//! Each test is one situation. It makes the situation, then follows the page, and at last looks
//! whether what the page promises has come true.

mod page;
mod shell;
mod situations;

use anyhow::{Result, ensure};

/// The sections that have commands, each with how many blocks of them. Each is played by a test in
/// `situations`.
const PLAYED: [(&str, usize); 8] = [
    ("The commands on this page", 1),
    ("The bad day: restoring", 3),
    ("All members of etcd are lost", 3),
    ("An older state", 2),
    ("Undoing a mistake", 1),
    ("Rehearsing", 1),
    ("A damaged journal", 2),
    ("Setting up", 1),
];

/// No command is added to the page without being tried.
#[test]
fn every_command_of_the_page_is_tried() -> Result<()> {
    let mut shown: Vec<(String, usize)> = Vec::new();
    for block in page::blocks("operations.md")? {
        match &*block.language {
            "console" => {}
            // What sets the variables runs at the beginning of each test.
            "sh" if block.heading == "The commands on this page" => continue,
            language => ensure!(
                language == "toml",
                "{}: a block of {language}",
                block.heading
            ),
        }
        match shown
            .iter_mut()
            .find(|(heading, _)| *heading == block.heading)
        {
            Some((_, blocks)) => *blocks += 1,
            None => shown.push((block.heading, 1)),
        }
    }
    shown.sort();
    let mut played = PLAYED.map(|(heading, blocks)| (heading.to_owned(), blocks));
    played.sort();
    ensure!(shown == played, "{shown:#?}");
    Ok(())
}
