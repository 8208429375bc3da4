//! A child that dies with the test, and the programs of etcd.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// What a test says where it cannot run.
pub(crate) const INSTALL: &str =
    "this test needs etcd, etcdctl and setpriv: ./test installs what the tests need, and runs them";

/// A child that is killed when dropped, also by a panic, and when the test is killed.
#[derive(Debug)]
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // has ended
        let _ = self.0.wait();
    }
}

/// A program of etcd: that of `CAIRN_ETCD` if it is set.
pub(crate) fn program(name: &str) -> OsString {
    match env::var_os("CAIRN_ETCD") {
        Some(directory) => PathBuf::from(directory).join(name).into_os_string(),
        None => name.into(),
    }
}

/// A command that inherits no setting of etcd from the developer's shell.
pub(crate) fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCD_") || text.starts_with("ETCDCTL_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Starts a member whose standard error goes to `log`.
pub(crate) fn spawn(data: &Path, arguments: &[String], log: &Path) -> Result<Killed> {
    let child = command("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program("etcd"))
        .arg("--data-dir")
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?)
        .spawn()
        .context(INSTALL)?;
    Ok(Killed(child))
}

/// Whether all threads of a process are halted.
pub(crate) fn is_halted(id: u32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit(')').next().unwrap_or_default();
        if !state.trim_start().starts_with('T') {
            return Ok(false);
        }
    }
    Ok(true)
}
