//! What keys an engine has, as a value: which are control keys, which can exist, which exclude each
//! other, and what a prefix means.

use bytes::Bytes;

/// The rules of one engine's keys.
#[derive(Clone, Debug)]
pub struct KeyRules {
    shape: Shape,
    control: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Keys are paths of files in a tree of directories.
    Tree(Names),
    /// Keys are bytes; each stands for itself.
    Flat,
}

/// What the names of a tree look like.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Checks the path of a file, or that of a directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub check: fn(&str) -> Result<(), String>,
    /// What is wrong with a path that the check refuses, without naming it.
    pub expected: &'static str,
}

impl KeyRules {
    /// Keys are paths of files: a file and a directory cannot have the same path. `control` is the
    /// directory of the control area.
    #[must_use]
    pub const fn tree(names: Names, control: &'static str) -> Self {
        Self {
            shape: Shape::Tree(names),
            control,
        }
    }

    /// Keys are any bytes but none at all. `control` is what all control keys begin with.
    #[must_use]
    pub const fn flat(control: &'static str) -> Self {
        Self {
            shape: Shape::Flat,
            control,
        }
    }

    /// The control area, for messages: what it lies below, or begins with.
    #[must_use]
    pub fn control_area(&self) -> &'static str {
        self.control
    }

    /// Whether a key belongs to the control area.
    #[must_use]
    pub fn is_control(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.control.as_bytes());
        match self.shape {
            Shape::Tree(_) => rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/'),
            Shape::Flat => rest.is_some(),
        }
    }

    /// Why there can be no such key, if so.
    #[must_use]
    pub fn why_not(&self, key: &[u8]) -> Option<&'static str> {
        match self.shape {
            Shape::Tree(names) => {
                let text = std::str::from_utf8(key).ok();
                let is_file = |text: &str| text != "/" && (names.check)(text).is_ok();
                (!text.is_some_and(is_file)).then_some(names.expected)
            }
            Shape::Flat => key.is_empty().then_some("is empty"),
        }
    }

    /// The keys that cannot exist beside `key` because it lies below them, shortest first.
    pub fn above<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let is_tree = matches!(self.shape, Shape::Tree(_));
        let slashes = key.iter().enumerate().skip(1);
        slashes
            .filter(move |(_, byte)| is_tree && **byte == b'/')
            .map(|(at, _)| &key[..at])
    }

    /// What the keys begin with that cannot exist beside `key` because they lie below it; `None`:
    /// none lies below it.
    #[must_use]
    pub fn below(&self, key: &[u8]) -> Option<Bytes> {
        match self.shape {
            Shape::Tree(_) => Some(Bytes::from([key, b"/"].concat())),
            Shape::Flat => None,
        }
    }

    /// Whether one of two different keys lies below the other, so that both cannot exist.
    #[must_use]
    pub fn exclude_each_other(&self, a: &[u8], b: &[u8]) -> bool {
        let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
        self.above(long).any(|above| above == short)
    }

    /// What `text` selects; see [`KeyPrefix`].
    #[must_use]
    pub fn prefix(&self, text: &str) -> KeyPrefix {
        KeyPrefix {
            is_tree: matches!(self.shape, Shape::Tree(_)),
            text: text.to_owned(),
        }
    }

    /// Checks that `text` can select anything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_prefix(&self, text: &str) -> Result<(), String> {
        match self.shape {
            Shape::Tree(names) => {
                let directory = text.strip_suffix('/').filter(|path| !path.is_empty());
                (names.check)(directory.unwrap_or(text))
            }
            Shape::Flat => Ok(()),
        }
    }
}

/// A part of all keys.
///
/// * In a tree, `/app` is the file `/app` and all files below `/app/`, but not `/apple`; `/app/` is
///   only those below; `/` is everything.
/// * Where keys are flat, it is every key that begins with these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix {
    is_tree: bool,
    text: String,
}

impl KeyPrefix {
    /// Whether a key lies in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let is_whole = !self.is_tree || self.text.is_empty() || self.text.ends_with('/');
        key.strip_prefix(self.text.as_bytes())
            .is_some_and(|rest| is_whole || rest.is_empty() || rest[0] == b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        check: |text| match text.starts_with('/') && !text.contains("//") {
            true => Ok(()),
            false => Err("no path".to_owned()),
        },
        expected: "is no path",
    };
    const TREE: KeyRules = KeyRules::tree(NAMES, "/ctl");
    const FLAT: KeyRules = KeyRules::flat("/ctl/persistence/");

    #[test]
    fn each_shape_has_its_own_control_area() {
        for (key, tree, flat) in [
            (&b"/ctl"[..], true, false),
            (b"/ctl/x", true, false),
            (b"/ctlx", false, false),
            (b"/ctl/persistence/1", true, true),
            (b"/ctl/persistence", true, false),
        ] {
            assert_eq!(TREE.is_control(key), tree, "{key:?}");
            assert_eq!(FLAT.is_control(key), flat, "{key:?}");
        }
    }

    #[test]
    fn a_file_excludes_what_lies_below_it_and_bytes_exclude_nothing() {
        let exclude = |a, b| TREE.exclude_each_other(a, b);
        assert!(exclude(b"/a", b"/a/b") && exclude(b"/a/b/c", b"/a"));
        assert!(!exclude(b"/a", b"/a-b") && !exclude(b"/a", b"/a") && !exclude(b"/a/b", b"/ab"));
        assert!(!FLAT.exclude_each_other(b"/a", b"/a/b"));
        let above: Vec<&[u8]> = TREE.above(b"/a/b/c").collect();
        assert_eq!(above, [&b"/a"[..], b"/a/b"]);
        assert_eq!(FLAT.above(b"/a/b/c").count(), 0);
        assert_eq!(TREE.below(b"/a").as_deref(), Some(&b"/a/"[..]));
        assert_eq!(FLAT.below(b"/a"), None);
    }

    #[test]
    fn a_prefix_ends_with_a_name_in_a_tree_and_anywhere_else() {
        for (prefix, key, tree, flat) in [
            ("/app", &b"/app"[..], true, true),
            ("/app", b"/app/x", true, true),
            ("/app", b"/apple", false, true),
            ("/app/", b"/app", false, false),
            ("/app/", b"/app/x", true, true),
            ("/", b"/app", true, true),
            ("/a/b", b"/a", false, false),
        ] {
            assert_eq!(TREE.prefix(prefix).contains(key), tree, "{prefix} {key:?}");
            assert_eq!(FLAT.prefix(prefix).contains(key), flat, "{prefix} {key:?}");
        }
        assert!(TREE.check_prefix("/app/").is_ok() && TREE.check_prefix("/").is_ok());
        assert!(TREE.check_prefix("app").is_err() && FLAT.check_prefix("app").is_ok());
    }

    #[test]
    fn what_cannot_be_a_key_is_told() {
        assert_eq!(TREE.why_not(b"/a"), None);
        for key in [&b""[..], b"a", b"/", b"/\xff"] {
            assert_eq!(TREE.why_not(key), Some("is no path"), "{key:?}");
        }
        assert_eq!(FLAT.why_not(b"\0"), None);
        assert_eq!(FLAT.why_not(b""), Some("is empty"));
    }
}
