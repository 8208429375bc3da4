//! Globs: paths in which `?` stands for one character of a name, `*` for any number of them, and
//! `**` for any number of characters, slashes included.
//!
//! All three may stand anywhere: `/b**` matches `/b`, `/bc` and `/b/c`. A star may stand for
//! nothing, but slashes are never optional: `/**/e` does not match `/e`. The path of a NOP's event
//! is `/`, which `/**`, `/*` and `/` match.

use std::fmt;
use std::str::FromStr;

use crate::path;

/// A text that is not a glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid glob pattern: {glob:?}; a glob is '/' or '/NAME/NAME...', with names of \
     A-Z a-z 0-9 '.' '-' and the wildcards '?' '*' '**'"
)]
pub struct GlobError {
    /// The text.
    pub glob: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one byte, not a slash.
    One,
    /// `*`: any number of bytes, no slash.
    Within,
    /// `**`: any number of bytes.
    Across,
}

/// A parsed glob.
///
/// ```
/// use cairn_client::glob::Glob;
///
/// let glob: Glob = "/users/*/name".parse()?;
/// assert!(glob.matches("/users/7/name"));
/// assert!(!glob.matches("/users/7/8/name"));
/// assert_eq!(glob.literal_prefix(), "/users/");
/// # Ok::<(), cairn_client::glob::GlobError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    source: String,
    /// Bytes of `source` before the first wildcard.
    literal_len: usize,
    /// The rest, after the literal prefix.
    tokens: Vec<Token>,
}

impl Glob {
    /// Parses a glob; every path is one, and matches itself.
    ///
    /// # Errors
    /// A string that no path could match.
    pub fn parse(source: &str) -> Result<Self, GlobError> {
        if path::check(source, b"*?").is_err() {
            return Err(GlobError {
                glob: source.to_owned(),
            });
        }
        let literal_len = source.find(['*', '?']).unwrap_or(source.len());
        let mut tokens = Vec::with_capacity(source.len() - literal_len);
        let mut bytes = source[literal_len..].bytes().peekable();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'?' => Token::One,
                b'*' if bytes.next_if_eq(&b'*').is_some() => Token::Across,
                b'*' => Token::Within,
                byte => Token::Byte(byte),
            };
            tokens.push(token);
        }
        Ok(Self {
            source: source.to_owned(),
            literal_len,
            tokens,
        })
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The start of every matching path: the glob up to its first wildcard.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.source[..self.literal_len]
    }

    /// Whether there are no wildcards, so that only one path can match.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether every valid path matches, so that a WAIT answers every single revision.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.literal_len == 1
            && self.tokens.contains(&Token::Across)
            && self
                .tokens
                .iter()
                .all(|token| matches!(token, Token::Across | Token::Within))
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.literal_prefix()) else {
            return false;
        };
        match self.tokens.as_slice() {
            [] => rest.is_empty(),
            [Token::Across] => true,
            tokens => matches_tokens(tokens, rest.as_bytes()),
        }
    }
}

/// Where to go on when the tokens after a star do not match: after the star, which then stands
/// for everything up to `text`.
#[derive(Clone, Copy)]
struct Retry {
    token: usize,
    text: usize,
}

/// Only the last star of each kind is ever widened. That is enough: what lies between two `*`
/// either holds a slash, and then there is one place for it, or it does not, and then the earliest
/// place leaves the most to the star that follows; and the earliest end before a `**` is the best.
fn matches_tokens(tokens: &[Token], text: &[u8]) -> bool {
    let (mut t, mut i) = (0, 0);
    let (mut within, mut across): (Option<Retry>, Option<Retry>) = (None, None);
    loop {
        match tokens.get(t) {
            Some(Token::Within) => {
                within = Some(Retry {
                    token: t + 1,
                    text: i,
                });
                t += 1;
                continue;
            }
            Some(Token::Across) => {
                across = Some(Retry {
                    token: t + 1,
                    text: i,
                });
                within = None;
                t += 1;
                continue;
            }
            Some(Token::One) if text.get(i).is_some_and(|&byte| byte != b'/') => {
                t += 1;
                i += 1;
                continue;
            }
            Some(Token::Byte(byte)) if text.get(i) == Some(byte) => {
                t += 1;
                i += 1;
                continue;
            }
            None if i == text.len() => return true,
            _ => {}
        }
        let widened = match (&mut within, &mut across) {
            (Some(star), _) if text.get(star.text).is_some_and(|&byte| byte != b'/') => star,
            (_, Some(star)) if star.text < text.len() => {
                within = None;
                star
            }
            _ => return false,
        };
        widened.text += 1;
        (t, i) = (widened.token, widened.text);
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(source: &str) -> Result<Self, GlobError> {
        Self::parse(source)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glob").field(&self.source).finish()
    }
}
