//! The link to the page, with the key of this run.
//!
//! The key stands behind `#`: browsers do not send that part, so it is in no log and no referrer.
//! To open the link a browser is given a private file that leads there, so that the key is not in
//! the list of processes either.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use uuid::Uuid;

/// What opens a file with the program that the person likes for it.
const OPENER: &str = "xdg-open";

/// The link.
pub struct Link {
    address: SocketAddr,
    key: String,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/#{}", self.address, self.key)
    }
}

impl Link {
    /// With a new key: 122 random bits.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self {
            address: SocketAddr::new(address, port),
            key: Uuid::new_v4().simple().to_string(),
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Opens it in a browser, by way of a file in the run's directory.
    ///
    /// # Errors
    /// If there is nothing that opens files.
    pub fn open(&self, directory: &Path) -> Result<()> {
        let path = directory.join("open.html");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path)?;
        let page = "<!doctype html><meta charset=utf-8><title>Cairn playground</title>\
                    <meta http-equiv=refresh content=\"0;url=";
        writeln!(
            file,
            "{page}{self}\"><a href=\"{self}\">To the playground</a>"
        )?;
        let mut opener = Command::new(OPENER);
        opener.arg(&path).stdin(Stdio::null());
        opener.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = opener.spawn().context(OPENER)?;
        // It may run for as long as the browser does, and is nobody's but the person's.
        std::thread::spawn(move || child.wait());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_key_of_its_own_behind_the_hash() {
        let link = |_| Link::new([127, 0, 0, 1].into(), 8047);
        let [one, other] = [(), ()].map(link);
        assert_ne!(one.key(), other.key());
        assert_eq!(one.key().len(), 32);
        assert_eq!(
            one.to_string(),
            format!("http://127.0.0.1:8047/#{}", one.key())
        );
        assert!(!format!("{one:?}").contains(one.key()));
    }
}
