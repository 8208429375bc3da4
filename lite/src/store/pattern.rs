//! A glob, taken apart by path component, so that listings and waiters can be looked up name by
//! name instead of trying every path.
//!
//! [`Glob`] alone decides the meaning of a glob. The parts here are a faster way to that answer,
//! and a test holds the two together.

use cairn_client::glob::{Glob, GlobError};

/// A parsed glob.
#[derive(Clone, Debug)]
pub struct Pattern {
    glob: Glob,
    parts: Vec<Part>,
    tail: Tail,
    /// Length of the literal directory in front of the first wildcard, without its final slash.
    directory: usize,
}

/// The condition on one component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Exactly this name.
    Literal(Box<str>),
    /// A name that these `*` and `?` describe.
    Wild(Box<str>),
}

/// The condition on the components after the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: the path has as many components as there are parts.
    End,
    /// `**` alone: anything below.
    All,
    /// A `**` among other things: paths below have to be tried one by one.
    Deep,
}

impl Part {
    /// Whether `name` is what this part asks for.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *name,
            Self::Wild(wild) => component_matches(wild, name),
        }
    }
}

/// The names on the way to a path, as patterns see them: the path of a NOP, `/`, is one empty
/// name.
pub fn names(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

impl Pattern {
    /// Parses a glob.
    ///
    /// # Errors
    /// If the text is no glob; the server's wording is the caller's business.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let glob = Glob::parse(text)?;
        let mut parts = Vec::new();
        let mut tail = Tail::End;
        for name in names(text) {
            if name.contains("**") {
                // `**` need not end with its component, so the rest is not taken apart.
                tail = if name == "**"
                    && text.ends_with("/**")
                    && !text[..text.len() - 2].contains("**")
                {
                    Tail::All
                } else {
                    Tail::Deep
                };
                break;
            }
            parts.push(if name.contains(['*', '?']) {
                Part::Wild(name.into())
            } else {
                Part::Literal(name.into())
            });
        }
        let before_wildcard = text.find(['*', '?']).map_or(text, |at| &text[..at]);
        let directory = before_wildcard.rfind('/').unwrap_or(0);
        Ok(Self {
            glob,
            parts,
            tail,
            directory,
        })
    }

    /// The glob as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.glob.as_str()
    }

    /// Whether a path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self.tail {
            Tail::Deep => self.glob.matches(path),
            Tail::End | Tail::All => {
                let mut names = names(path);
                for part in &self.parts {
                    if !names.next().is_some_and(|name| part.matches(name)) {
                        return false;
                    }
                }
                names.next().is_some() == (self.tail == Tail::All)
            }
        }
    }

    /// The conditions on the first components.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The condition on the components after the parts.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Whether only one path matches, which is then [`as_str`](Self::as_str).
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.tail == Tail::End && self.all_literal()
    }

    /// Whether exactly what is below [`directory`](Self::directory) matches.
    #[must_use]
    pub fn is_subtree(&self) -> bool {
        self.tail == Tail::All && self.all_literal()
    }

    /// The directory below which everything that matches is; empty for the root.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.as_str()[..self.directory]
    }

    fn all_literal(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }
}

/// Matches one name against `*` (any run, also none) and `?` (one character). On a mismatch only
/// the last `*` is tried again, one character further: never worse than pattern times name.
pub fn component_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    p = after_star;
                    n = from + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_matches_as_in_a_shell() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("?", "a", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("*a*a", "aaa", true),
            ("*ab", "aab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(component_matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_knows_where_to_look() {
        let p = |text| Pattern::parse(text).unwrap();
        assert!(p("/a/b").is_literal());
        assert_eq!(p("/a/b").directory(), "/a");
        assert!(p("/").is_literal());
        assert!(p("/**").is_subtree());
        assert_eq!(p("/**").directory(), "");
        assert!(p("/a/**").is_subtree());
        assert_eq!(p("/a/**").directory(), "/a");
        assert!(!p("/a**").is_subtree());
        assert_eq!(p("/a**").directory(), "");
        assert_eq!(p("/a**").tail(), Tail::Deep);
        assert_eq!(p("/**/**").tail(), Tail::Deep);
        assert_eq!(p("/x/*/b").directory(), "/x");
        assert_eq!(p("/x/*/b").tail(), Tail::End);
        assert_eq!(p("/x/*/**").tail(), Tail::All);
    }

    /// The parts are a shortcut to what the glob says; nothing may differ.
    #[test]
    fn the_parts_agree_with_the_glob() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut word = |alphabet: &[&str]| {
            (0..random.usize(1..6))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect::<String>()
        };
        let mut compared = 0;
        for _ in 0..20_000 {
            let glob = format!("/{}", word(&["a", "b", "/", "*", "?", "**", "/*/", "/**"]));
            let path = format!("/{}", word(&["a", "b", "/", "/a"]));
            let Ok(pattern) = Pattern::parse(&glob) else {
                continue;
            };
            for path in [path.as_str(), "/"] {
                if cairn_client::path::is_valid(path) {
                    compared += 1;
                    let want = Glob::parse(&glob).unwrap().matches(path);
                    assert_eq!(pattern.matches(path), want, "{glob} {path}");
                }
            }
        }
        assert!(compared > 1_000, "only {compared} comparisons");
    }
}
