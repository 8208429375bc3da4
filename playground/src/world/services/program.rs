//! Where executables are, and how they are called.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::world::error::{Error, Result};
use crate::world::process::Launch;
use crate::world::services::service::Place;

/// How to call a program: its path, and the first arguments where it is one of several in a binary.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: OsString,
    /// Its first arguments.
    pub args: Vec<OsString>,
}

impl Program {
    /// An executable of its own.
    pub fn at(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
        }
    }

    /// A hidden subcommand of an executable.
    pub fn within(path: impl Into<OsString>, subcommand: &str) -> Self {
        Self {
            path: path.into(),
            args: vec![subcommand.into()],
        }
    }

    /// An executable of this name in a directory of `PATH`, or where Debian keeps servers.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], with how to install it.
    pub fn installed(name: &str, hint: &'static str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let servers = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let found = std::env::split_paths(&path)
            .chain(servers)
            .map(|directory| directory.join(name))
            .find(|program| program.is_file());
        let not = || Error::NotInstalled {
            program: name.to_owned(),
            hint,
        };
        Ok(Self::at(found.ok_or_else(not)?))
    }

    pub(super) fn launch(&self, name: &str, place: &Place) -> Launch {
        Launch::new(name, &self.path, &place.log).args(self.args.iter().cloned())
    }
}
