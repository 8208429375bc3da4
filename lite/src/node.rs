//! The files that a fresh node of one writes about itself before it takes requests: revisions 1 to
//! 58.
//!
//! | revisions | |
//! |---|---|
//! | 1 | `/ctl/name`: the cluster's name |
//! | 2 to 4 | `/ctl/node/<self>/{addr,hostname,version}` |
//! | 5 | `/ctl/cal/0`: who decides |
//! | 6 | `/ctl/ns/<cluster>/<self>`: where clients find the node |
//! | 7 to 56 | NOPs: a real cluster decides 50 revisions ahead |
//! | 57, 58 | `/ctl/node/<self>/{applied,writable}` |
//!
//! A real node goes on to write `applied` while it runs; this one does not.

use bytes::Bytes;
use cairn_client::Revision;

use crate::store::Store;

/// The cluster's name, unless someone sets another.
const CLUSTER: &str = "local";

/// The revisions that a real cluster decides ahead of its newest.
const LOOKAHEAD: usize = 50;

/// Fills a new store: the same for the same name and address.
pub(crate) fn write_preamble(store: &mut Store, name: &str, address: &str) {
    let node = format!("/ctl/node/{name}");
    let version = concat!("doozer-lite-", env!("CARGO_PKG_VERSION"));
    set(store, "/ctl/name", CLUSTER);
    set(store, &format!("{node}/addr"), address);
    set(store, &format!("{node}/hostname"), "localhost");
    set(store, &format!("{node}/version"), version);
    set(store, "/ctl/cal/0", name);
    set(store, &format!("/ctl/ns/{CLUSTER}/{name}"), address);
    for _ in 0..LOOKAHEAD {
        let nop = store.nop();
        debug_assert!(nop.is_ok(), "a new store has room");
    }
    let applied = store.revision().to_string();
    set(store, &format!("{node}/applied"), &applied);
    set(store, &format!("{node}/writable"), "true");
}

fn set(store: &mut Store, path: &str, value: &str) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let written = store.set(path, Revision::MISSING, value);
    debug_assert!(
        written.is_ok_and(|written| written.refused.is_none()),
        "{path}"
    );
}

/// A name like a real node's: 16 characters of base 32.
pub(crate) fn random_name() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    (0..16)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::event::EventKind;
    use crate::store::tree::Node;

    #[test]
    fn a_fresh_node_is_at_58_with_its_own_entries() {
        let mut store = Store::new(100);
        write_preamble(&mut store, "N", "127.0.0.1:8046");
        assert_eq!(store.revision(), Revision(58));
        let name = store.event(Revision(1)).unwrap();
        assert_eq!((&*name.path, &name.value[..]), ("/ctl/name", &b"local"[..]));
        assert_eq!(store.event(Revision(7)).unwrap().kind, EventKind::Nop);
        assert_eq!(store.event(Revision(56)).unwrap().kind, EventKind::Nop);
        assert!(matches!(
            store.tree().find("/ctl/node/N/writable"),
            Some(Node::File(_))
        ));
    }
}
