//! Which persisters a write waits for, how many of them, and for how long.
//!
//! An impossible policy is refused when it is made known, not when the first write waits for ever.

use std::time::Duration;

/// The most persisters that a policy may name. Every one of them costs each client a watch and each
/// write a comparison; a cluster has a handful.
pub const MAX_PERSISTERS: usize = 64;

/// The environment variable that names the persisters: `1,2,3`.
pub const ENV_PERSIST: &str = "CAIRN_PERSIST";

/// The environment variable that says how many of them are required.
pub const ENV_REQUIRE: &str = "CAIRN_REQUIRE";

/// When a write counts as durable: once `required` of `persisters` have it on disk.
///
/// With `required` = f + 1, the loss of any f of them loses no acknowledged write. The more
/// persisters are named beyond that, the more of them may be slow or dead without a write noticing.
///
/// ```
/// use cairn_sync_client::Durability;
///
/// let any_two_of_three = Durability::new([1, 2, 3], 2);
/// any_two_of_three.validate()?;
/// assert!(Durability::new([1], 2).validate().is_err());
/// # Ok::<(), cairn_sync_client::DurabilityError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The persisters whose word counts, by their numbers.
    pub persisters: Vec<u32>,
    /// How many of them must have a write on disk.
    pub required: usize,
    /// How long a write waits for them after the cluster has accepted it. Default: 5 s.
    pub timeout: Duration,
}

/// How long a write waits for its persisters unless told otherwise. A disk that is not broken syncs
/// in well under a second; a persister that is being restarted is back within a few.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

impl Default for Durability {
    /// Persister 1 alone.
    fn default() -> Self {
        Self::new([1], 1)
    }
}

impl Durability {
    /// `required` of `persisters`, within [`DEFAULT_TIMEOUT`].
    pub fn new(persisters: impl Into<Vec<u32>>, required: usize) -> Self {
        Self {
            persisters: persisters.into(),
            required,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Refuses what could never be fulfilled, or would mean less than it says.
    ///
    /// # Errors
    /// Nobody is named, somebody twice, or fewer than are required.
    pub fn validate(&self) -> Result<(), DurabilityError> {
        let named = self.persisters.len();
        if named == 0 {
            return Err(DurabilityError::NoPersisters);
        }
        if named > MAX_PERSISTERS {
            return Err(DurabilityError::TooMany { named });
        }
        let mut sorted = self.persisters.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DurabilityError::Twice { persister: pair[0] });
        }
        if sorted[0] == 0 {
            return Err(DurabilityError::Zero);
        }
        if self.required == 0 {
            return Err(DurabilityError::NoneRequired);
        }
        if self.required > named {
            return Err(DurabilityError::TooFew {
                required: self.required,
                named,
            });
        }
        if self.timeout.is_zero() {
            return Err(DurabilityError::NoTime);
        }
        Ok(())
    }

    /// Reads a policy from text: `persist` = `1,2,3`, `require` = `2`.
    ///
    /// Without `persist` it is persister 1; without `require`, all that are named: naming two
    /// persisters and no number does not say that one of them is enough.
    ///
    /// # Errors
    /// What is no list of numbers, or no number; and as [`Durability::validate`].
    pub fn parse(persist: Option<&str>, require: Option<&str>) -> Result<Self, DurabilityError> {
        let persisters = match persist {
            None => vec![1],
            Some(list) => list.split(',').map(persister).collect::<Result<_, _>>()?,
        };
        let required = match require {
            None => persisters.len(),
            Some(number) => number
                .trim()
                .parse()
                .map_err(|_| DurabilityError::NotANumber {
                    what: "the number of required persisters",
                    found: number.to_owned(),
                })?,
        };
        let policy = Self::new(persisters, required);
        policy.validate()?;
        Ok(policy)
    }

    /// The policy that a URI states, else the environment, else the default.
    pub(crate) fn chosen(
        persist: Option<&str>,
        require: Option<&str>,
    ) -> Result<Self, DurabilityError> {
        if persist.is_some() || require.is_some() {
            return Self::parse(persist, require);
        }
        Ok(Self::from_env().transpose()?.unwrap_or_default())
    }

    /// The policy in `CAIRN_PERSIST` and `CAIRN_REQUIRE`; `None` if neither is set.
    pub fn from_env() -> Option<Result<Self, DurabilityError>> {
        let (persist, require) = (variable(ENV_PERSIST), variable(ENV_REQUIRE));
        if persist.is_none() && require.is_none() {
            return None;
        }
        Some(Self::parse(persist.as_deref(), require.as_deref()))
    }
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}

fn persister(text: &str) -> Result<u32, DurabilityError> {
    text.trim()
        .parse()
        .map_err(|_| DurabilityError::NotANumber {
            what: "a persister",
            found: text.to_owned(),
        })
}

/// Why a policy is refused, or a write that no policy could fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurabilityError {
    /// Nobody to wait for.
    #[error("no persisters are named: name at least one, such as persist=1")]
    NoPersisters,
    /// More than [`MAX_PERSISTERS`].
    #[error("{named} persisters are named, at most {MAX_PERSISTERS} can be")]
    TooMany {
        /// How many.
        named: usize,
    },
    /// One journal counts once.
    #[error("persister {persister} is named twice: it has one journal, which counts once")]
    Twice {
        /// Which.
        persister: u32,
    },
    /// Numbers start at 1.
    #[error("0 is not a persister: they are numbered from 1")]
    Zero,
    /// Nothing would be waited for.
    #[error(
        "0 persisters are required, so nothing would be durable: require at least 1, or use the \
         regular client"
    )]
    NoneRequired,
    /// It could never be fulfilled.
    #[error(
        "persisters required: {required}, named: {named}; no write could ever be confirmed: name \
         more, or require fewer"
    )]
    TooFew {
        /// How many are required.
        required: usize,
        /// How many are named.
        named: usize,
    },
    /// Every write would be unconfirmed.
    #[error("the timeout is zero, so every write would end unconfirmed")]
    NoTime,
    /// The path is `/ctl` or below it: persisters do not journal the cluster's own subtree.
    #[error(
        "{path}: the cluster's own subtree /ctl is never journaled, so this write could never be \
         durable; it was not done. Use the regular client for it (Client::regular)"
    )]
    NeverJournaled {
        /// The path.
        path: String,
    },
    /// The key, or a range, is the persisters' own: they do not publish for what they write there.
    #[error(
        "{key}: what begins with /ctl/persistence/ is the persisters' own, so this write could \
         never be durable; it was not done. Use the session for it (Client::session)"
    )]
    ControlArea {
        /// The key, or the first one, with what is no text escaped.
        key: String,
    },
    /// The text is no number.
    #[error("{found:?} is not {what}: give numbers, such as persist=1,2,3 and require=2")]
    NotANumber {
        /// What it should be.
        what: &'static str,
        /// What it is.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_policies_pass() {
        for (persisters, required) in [(vec![1], 1), (vec![3, 1, 2], 2), (vec![u32::MAX], 1)] {
            assert_eq!(Durability::new(persisters, required).validate(), Ok(()));
        }
        assert_eq!(Durability::default().validate(), Ok(()));
    }

    #[test]
    fn impossible_policies_are_refused_with_their_reason() {
        use DurabilityError as E;
        for (persisters, required, expected) in [
            (vec![], 1, E::NoPersisters),
            (vec![1, 2, 1], 1, E::Twice { persister: 1 }),
            (vec![2, 0], 1, E::Zero),
            (vec![1, 2], 0, E::NoneRequired),
            (
                vec![1, 2],
                3,
                E::TooFew {
                    required: 3,
                    named: 2,
                },
            ),
            ((1..=65).collect(), 1, E::TooMany { named: 65 }),
        ] {
            assert_eq!(
                Durability::new(persisters, required).validate(),
                Err(expected)
            );
        }
        assert_eq!(
            Durability::new([1], 2).validate().unwrap_err().to_string(),
            "persisters required: 2, named: 1; no write could ever be confirmed: name more, or \
             require fewer"
        );
        let no_time = Durability {
            timeout: Duration::ZERO,
            ..Durability::default()
        };
        assert_eq!(no_time.validate(), Err(E::NoTime));
    }

    #[test]
    fn text_is_read_and_all_named_are_required_unless_said() {
        let read = |persist, require| Durability::parse(persist, require);
        assert_eq!(read(None, None), Ok(Durability::new([1], 1)));
        assert_eq!(read(Some("7"), None), Ok(Durability::new([7], 1)));
        assert_eq!(
            read(Some("1, 2,3"), None),
            Ok(Durability::new([1, 2, 3], 3))
        );
        assert_eq!(
            read(Some("1,2,3"), Some("2")),
            Ok(Durability::new([1, 2, 3], 2))
        );
        for (persist, require) in [
            (Some(""), None),
            (Some("1,,2"), None),
            (Some("one"), None),
            (Some("-1"), None),
            (Some("1"), Some("two")),
            (Some("1"), Some("2")),
            (None, Some("0")),
        ] {
            assert!(read(persist, require).is_err(), "{persist:?} {require:?}");
        }
    }
}
