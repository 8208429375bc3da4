//! Whether a cluster can take what is to be restored: asked before the first write, because a value
//! that is too long would leave a real node's SET hanging in the middle of it all.

use crate::cluster::rules::KeyRules;
use crate::error::Error;
use crate::identity::lineage::Choice;
use crate::restore::source::Files;
use crate::restore::target::Target;

/// How many keys an error names.
const NAMED: usize = 10;

/// `max_bytes`: what the cluster takes of path and value together.
///
/// # Errors
/// [`Error::DoesNotFit`], naming the keys.
pub(super) fn validate(
    rules: &KeyRules,
    files: &Files,
    max_value_bytes: usize,
    max_bytes: usize,
) -> Result<(), Error> {
    let mut misfits = files.iter().filter_map(|(path, (_, value))| {
        let why = if let Some(why) = rules.why_not(path) {
            why.to_owned()
        } else if value.len() > max_value_bytes {
            format!("{} bytes", value.len())
        } else if path.len() + value.len() > max_bytes {
            format!("{} bytes with its path", path.len() + value.len())
        } else {
            let above = rules.above(path).find(|above| files.contains_key(*above))?;
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

/// Whether there is anything of each part that was asked for: if not, somebody has mistyped it, and
/// an empty cluster would pass for restored.
///
/// # Errors
/// [`Error::NoSuchPart`].
pub(super) fn each_part_is_there(
    rules: &KeyRules,
    files: &Files,
    target: &Target,
) -> Result<(), Error> {
    let Choice::Only(prefixes) = &target.choice else {
        return Ok(());
    };
    for text in prefixes {
        let prefix = rules.prefix(text);
        if !files.keys().any(|path| prefix.contains(path)) {
            return Err(Error::NoSuchPart {
                prefix: text.clone(),
                at: target.at,
                control: rules.control_area(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::address::Address;
    use bytes::Bytes;
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
        let check = |keys: &[(&'static str, usize)]| {
            validate(&Address::default().rules(), &files(keys), 100, 110)
        };
        assert!(check(&[("/a", 100), ("/a-b", 1), ("/b/c", 0)]).is_ok());
        for wrong in [
            &[("/a", 101)][..],
            &[("/a-b-c-d-e-f", 99)],
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
}
