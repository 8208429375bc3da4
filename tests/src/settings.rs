//! What a developer may ask of a test by the environment: more of it, or the same once more.

use std::str::FromStr;

use anyhow::{Result, anyhow};

/// A value from the environment, if there is one.
pub fn given<T: FromStr>(name: &str) -> Result<Option<T>> {
    match std::env::var(name) {
        Err(_) => Ok(None),
        Ok(value) => match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(anyhow!("{name}={value:?} is not a number")),
        },
    }
}

/// A value from the environment, for those who want more than the default, or less.
pub fn setting<T: FromStr>(name: &str, default: T) -> Result<T> {
    Ok(given(name)?.unwrap_or(default))
}

/// Random numbers whose seed is printed. `CAIRN_SEED` gives the same ones again.
pub fn seeded(what: &str) -> Result<fastrand::Rng> {
    let seed = setting("CAIRN_SEED", fastrand::u64(..))?;
    println!("{what}: CAIRN_SEED={seed}");
    Ok(fastrand::Rng::with_seed(seed))
}
