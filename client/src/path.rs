//! The rules for paths: `/`, or one or more of `/NAME` where a name is made of ASCII letters,
//! digits, `.` and `-`.
//!
//! `.` and `..` are ordinary names. There is no escaping: a name with any other character cannot
//! be written at all.

use std::cmp::Ordering;

/// Why a text is not a path.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is empty or relative.
    #[error("path {path:?} must start with '/'")]
    NotAbsolute {
        /// The text.
        path: String,
    },
    /// Two slashes in a row, or one at the end.
    #[error("path {path:?} has an empty name before byte {offset}")]
    EmptyName {
        /// The text.
        path: String,
        /// Where the name should have ended.
        offset: usize,
    },
    /// A character outside the alphabet.
    #[error(
        "path {path:?} has {character:?} at byte {offset}; names are made of A-Z a-z 0-9 '.' '-'"
    )]
    BadCharacter {
        /// The text.
        path: String,
        /// The first such character.
        character: char,
        /// Where it is.
        offset: usize,
    },
}

/// Whether `path` can name a file or a directory.
#[must_use]
pub fn is_valid(path: &str) -> bool {
    check(path, b"").is_ok()
}

/// Like [`is_valid`], but says what is wrong.
///
/// # Errors
/// What is wrong with it, and where.
pub fn validate(path: &str) -> Result<(), PathError> {
    check(path, b"").map_err(|fault| fault.explain(path))
}

/// The order in which a server lists paths: directory by directory, the names of each in byte
/// order. It differs from the order of the texts, because `-` and `.` sort before `/`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// A file and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// `/app`: the file `/app` and all files below `/app/`, but not `/apple`. `/app/`: only those
    /// below. `/`: everything.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path lies in it.
    #[must_use]
    pub fn contains(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.0.as_bytes()).is_some_and(|rest| {
            rest.is_empty() || rest[0] == b'/' || self.0.is_empty() || self.0.ends_with('/')
        })
    }
}

/// The fault, without the text: kept small, because most checks pass or only ask whether.
pub(crate) enum Fault {
    NotAbsolute,
    EmptyName(usize),
    BadCharacter(usize),
}

impl Fault {
    fn explain(&self, path: &str) -> PathError {
        let path = path.to_owned();
        match *self {
            Self::NotAbsolute => PathError::NotAbsolute { path },
            Self::EmptyName(offset) => PathError::EmptyName { path, offset },
            Self::BadCharacter(offset) => PathError::BadCharacter {
                character: path[offset..].chars().next().unwrap_or_default(),
                path,
                offset,
            },
        }
    }
}

/// The shape shared by paths and globs: globs only add `extra` characters to the names.
pub(crate) fn check(text: &str, extra: &[u8]) -> Result<(), Fault> {
    let Some((b'/', names)) = text.as_bytes().split_first() else {
        return Err(Fault::NotAbsolute);
    };
    if names.is_empty() {
        return Ok(());
    }
    let mut previous = b'/';
    for (index, &byte) in names.iter().enumerate() {
        let offset = index + 1;
        match byte {
            b'/' if previous == b'/' => return Err(Fault::EmptyName(offset)),
            b'/' | b'.' | b'-' => {}
            _ if byte.is_ascii_alphanumeric() || extra.contains(&byte) => {}
            _ => return Err(Fault::BadCharacter(offset)),
        }
        previous = byte;
    }
    if previous == b'/' {
        return Err(Fault::EmptyName(text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_file_and_what_is_below_it() {
        let app = Prefix::new("/app");
        assert!(app.contains(b"/app") && app.contains(b"/app/db"));
        assert!(!app.contains(b"/apple") && !app.contains(b"/ap"));
        let below = Prefix::new("/app/");
        assert!(below.contains(b"/app/db") && !below.contains(b"/app"));
        assert!(Prefix::new("/").contains(b"/x") && Prefix::new("").contains(b"/x"));
    }
}
