//! Which process holds a persister's id, as its owner key says it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use cairn_journal::Revision;
use cairn_protocol::owner::Owner;
use uuid::Uuid;

/// This process, as it stands in the owner key.
#[derive(Clone, Debug)]
pub struct Holder(Owner);

impl Holder {
    /// This process, holding `journal`, which lies in `directory`.
    #[must_use]
    pub fn new(journal: Uuid, directory: &Path) -> Self {
        Self(Owner {
            journal: journal.to_string(),
            process: Uuid::new_v4().to_string(),
            place: place(directory),
            pid: std::process::id(),
            settled: None,
        })
    }

    /// The value of the owner key.
    #[must_use]
    pub fn value(&self) -> Bytes {
        self.0.to_string().into()
    }

    /// The value of the owner key, saying that everything up to this revision is settled.
    #[must_use]
    pub fn value_at(&self, settled: Revision) -> Bytes {
        let owner = Owner {
            settled: Some(settled.0),
            ..self.0.clone()
        };
        owner.to_string().into()
    }

    /// Whether `value` was written by this very process.
    #[must_use]
    pub fn is_me(&self, value: &[u8]) -> bool {
        Owner::parse(value).is_ok_and(|owner| owner.process == self.0.process)
    }

    /// Whether `value` was written by a process that held the lock which we hold now.
    #[must_use]
    pub fn had_my_lock(&self, value: &[u8]) -> bool {
        Owner::parse(value)
            .is_ok_and(|owner| owner.journal == self.0.journal && owner.place == self.0.place)
    }
}

/// Names a directory of a machine by the machine's name and the directory's device and inode: two
/// processes that name the same place have the same lock.
#[must_use]
pub fn place(directory: &Path) -> String {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy().replace(' ', "-");
    match std::fs::metadata(directory) {
        Ok(metadata) => format!("{machine}:{:x}:{:x}", metadata.dev(), metadata.ino()),
        // Nobody's place: then the heartbeats decide.
        Err(_) => format!("{machine}:{}", Uuid::new_v4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_knows_itself_and_its_lock() {
        let (here, there) = (tempfile::tempdir(), tempfile::tempdir());
        let (here, there) = (here.expect("a directory"), there.expect("a directory"));
        let journal = Uuid::new_v4();
        let me = Holder::new(journal, here.path());
        let earlier_me = Holder::new(journal, here.path());
        let copy = Holder::new(journal, there.path());
        let other = Holder::new(Uuid::new_v4(), here.path());
        assert!(me.is_me(&me.value()));
        assert!(!me.is_me(&earlier_me.value()));
        assert!(me.had_my_lock(&earlier_me.value()));
        assert!(!me.had_my_lock(&copy.value()), "its lock is another");
        assert!(!me.had_my_lock(&other.value()));
        for garbage in [&b""[..], b" ", b"\xff \xff \xff"] {
            assert!(!me.is_me(garbage));
            assert!(!me.had_my_lock(garbage));
        }
    }
}
