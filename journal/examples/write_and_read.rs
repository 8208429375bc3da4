//! Writes a few records durably, closes the journal, and reads the state back.
//!
//! `cargo run -p cairn-journal --example write_and_read -- DIR`

use std::{env, path::PathBuf};

use cairn_journal::{Change, Journal, NewRecord, Options, Reader, Result, Timestamp};

fn main() -> Result<()> {
    let dir = PathBuf::from(env::args().nth(1).expect("usage: write_and_read DIR"));
    let (journal, recovery) = Journal::open(&dir, Options::default())?;
    println!("{recovery:?}");

    // Many may be queued; one commit makes all of them durable.
    let mut revision = journal.end().revision;
    let mut last = None;
    for word in ["one", "two", "three"] {
        revision = revision.next();
        let change = Change::set(format!("/words/{word}"), word);
        last =
            Some(journal.append(NewRecord::changes(revision, vec![change], Timestamp::now()))?);
    }
    if let Some(last) = last {
        println!("durable up to sequence {}", journal.commit(last)?);
    }
    journal.close()?;

    let reader = Reader::open(&dir)?;
    for record in reader.records_from_revision(revision) {
        println!("{:?}", record?.entry);
    }
    let now = reader.state(None)?;
    println!("{} paths at revision {}", now.files.len(), now.revision);
    Ok(())
}
