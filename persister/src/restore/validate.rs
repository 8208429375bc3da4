//! Whether a cluster can take what is to be restored: asked before the first write, because a value
//! that is too long would leave a real node's SET hanging in the middle of it all.

use crate::cluster::capabilities::Limits;
use crate::cluster::rules::KeyRules;
use crate::error::Error;
use crate::identity::lineage::Choice;
use crate::restore::target::{Files, Target};

/// How many keys an error names.
const NAMED: usize = 10;

/// How many bytes of a key an error shows.
const SHOWN: usize = 200;

/// `told`: the longest value that the cluster takes, if somebody knows.
///
/// # Errors
/// [`Error::DoesNotFit`], naming the keys.
pub(super) fn validate(
    rules: &KeyRules,
    files: &Files,
    limits: &Limits,
    told: Option<usize>,
) -> Result<(), Error> {
    let max_value_bytes = told
        .unwrap_or(limits.value_bytes)
        .min(limits.most_value_bytes);
    // Whoever knows of more room for a value knows of as much for its key with it.
    let more = max_value_bytes.saturating_sub(limits.value_bytes);
    let max_bytes = limits.revision_bytes.saturating_add(more);
    let mut misfits = files.iter().filter_map(|(path, key)| {
        let value = &key.value;
        let names = path.iter().filter(|byte| **byte == b'/').count();
        let together = path.len().saturating_add(value.len());
        let why = if let Some(why) = rules.why_not(path) {
            why.to_owned()
        } else if path.len() > limits.key_bytes {
            let (bytes, most) = (path.len(), limits.key_bytes);
            format!("a path of {bytes} bytes, {most} at most")
        } else if names > limits.key_names {
            format!("a path of {names} names, {} at most", limits.key_names)
        } else if value.len() > max_value_bytes {
            format!("{} bytes", value.len())
        } else if together > max_bytes {
            format!("{together} bytes with its path, {max_bytes} at most")
        } else {
            let above = rules.above(path).find(|above| files.contains_key(*above))?;
            format!("lies below the file {}", shown(above))
        };
        Some(format!("{} ({why})", shown(path)))
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

/// A key, or its beginning.
fn shown(path: &[u8]) -> String {
    let end = path.len().min(SHOWN);
    let dots = if end < path.len() { "..." } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(&path[..end]))
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
    use cairn_journal::{KeyValue, Revision};

    fn files(keys: &[(&'static str, usize)]) -> Files {
        let file = |(path, bytes): &(&'static str, usize)| {
            let value = Bytes::from(vec![b'x'; *bytes]);
            let path = Bytes::from_static(path.as_bytes());
            (path.clone(), KeyValue::new(path, Revision(9), value))
        };
        keys.iter().map(file).collect()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let limits = Limits {
            value_bytes: 100,
            most_value_bytes: 200,
            key_bytes: 20,
            key_names: 4,
            revision_bytes: 110,
            in_order: true,
        };
        let fits = |keys: &[(&'static str, usize)], told| {
            validate(&Address::default().rules(), &files(keys), &limits, told)
        };
        let check = |keys: &[(&'static str, usize)]| fits(keys, None);
        // Somebody who knows that the cluster takes more may be right, but not always.
        assert!(fits(&[("/a", 200)], Some(1000)).is_ok());
        assert!(fits(&[("/a", 201)], Some(1000)).is_err());
        assert!(check(&[("/a", 100), ("/a-b", 1), ("/b/c", 0)]).is_ok());
        for wrong in [
            &[("/a", 101)][..],
            &[("/a-b-c-d-e-f", 99)],
            &[("/a/b/c/d/e", 1)],
            &[("/aaaaaaaaaaaaaaaaaaaa", 1)],
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
