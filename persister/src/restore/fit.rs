//! Whether a cluster can take what is to be restored: asked before the first write, because a value
//! that is too long would leave a real node's SET hanging in the middle of it all.

use bytes::Bytes;
use cairn_client::path::Prefix;

use crate::cluster::Session;
use crate::error::Error;
use crate::identity::lineage::Choice;
use crate::restore::source::{Files, Intent};

/// How many keys an error names.
const NAMED: usize = 10;

/// # Errors
/// [`Error::DoesNotFit`], naming the keys.
pub(super) fn check<S: Session>(files: &Files, max_value_bytes: usize) -> Result<(), Error> {
    let mut misfits = files.iter().filter_map(|(path, (_, value))| {
        let why = if let Some(why) = S::why_not(path) {
            why.to_owned()
        } else if value.len() > max_value_bytes {
            format!("{} bytes", value.len())
        } else {
            let above = file_above(path, |above| files.contains_key(above))?;
            format!("lies below the file {}", String::from_utf8_lossy(above))
        };
        Some(format!("{} ({why})", String::from_utf8_lossy(path)))
    });
    let named: Vec<String> = misfits.by_ref().take(NAMED).collect();
    if named.is_empty() {
        return Ok(());
    }
    Err(Error::DoesNotFit {
        keys: (named.len() + misfits.count()) as u64,
        named,
        max_value_bytes,
    })
}

/// Whether there is anything of each part that was asked for: if not, somebody has mistyped it, and an
/// empty cluster would pass for restored.
///
/// # Errors
/// [`Error::NoSuchPart`].
pub(super) fn each_part_is_there(files: &Files, intent: &Intent) -> Result<(), Error> {
    let Choice::Only(prefixes) = &intent.choice else {
        return Ok(());
    };
    for text in prefixes {
        let prefix = Prefix::new(text);
        if !files.keys().any(|path| prefix.contains(path)) {
            return Err(Error::NoSuchPart {
                prefix: text.clone(),
                at: intent.at,
            });
        }
    }
    Ok(())
}

/// The file above `path`, where `exists` knows of one: it would have to be a directory.
pub(super) fn file_above(path: &[u8], exists: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes
        .map(|(at, _)| &path[..at])
        .find(|above| !above.is_empty() && exists(above))
}

/// Whether one of two paths lies below the other, so that both cannot be files.
pub(super) fn exclude_each_other(a: &Bytes, b: &Bytes) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(&short[..])
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::doozer::DoozerSession;
    use cairn_journal::Revision;

    fn files(keys: &[(&'static str, usize)]) -> Files {
        let file = |(path, bytes): &(&'static str, usize)| {
            let value = Bytes::from(vec![b'x'; *bytes]);
            (Bytes::from_static(path.as_bytes()), (Revision(9), value))
        };
        keys.iter().map(file).collect()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |keys: &[(&'static str, usize)]| check::<DoozerSession>(&files(keys), 100);
        assert!(check(&[("/a", 100), ("/a-b", 1), ("/b/c", 0)]).is_ok());
        for wrong in [
            &[("/a", 101)][..],
            &[("/a b", 1)],
            &[("/", 1)],
            &[("/a", 1), ("/a-b", 1), ("/a/b/c", 1)],
        ] {
            let Err(Error::DoesNotFit { keys, named, .. }) = check(wrong) else {
                panic!("{wrong:?} cannot be restored");
            };
            assert_eq!((keys, named.len()), (1, 1), "{wrong:?}");
        }
    }

    #[test]
    fn a_path_excludes_what_lies_below_it() {
        let exclude = |a, b| exclude_each_other(&Bytes::from_static(a), &Bytes::from_static(b));
        assert!(exclude(b"/a", b"/a/b") && exclude(b"/a/b/c", b"/a"));
        assert!(!exclude(b"/a", b"/a-b") && !exclude(b"/a", b"/a") && !exclude(b"/a/b", b"/ab"));
    }
}
