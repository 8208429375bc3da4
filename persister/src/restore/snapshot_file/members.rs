//! etcd's own `snapshot restore`, once for each member, and the commands that start what it makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::file_error::FileError;
use crate::restore::snapshot_file::request::{Member, Members};

/// etcd's tools that can restore a snapshot: from 3.5 on the first, before that the second.
const TOOLS: [&str; 2] = ["etcdutl", "etcdctl"];

/// Where a member that is not to be reached from elsewhere yet listens for clients.
const ONLY_HERE: &str = "http://127.0.0.1:2379";

/// The first of etcd's tools that can be run.
///
/// # Errors
/// [`FileError::NoTool`].
pub(super) fn tool() -> Result<&'static str, FileError> {
    let runs = |tool: &&&str| {
        let mut command = Command::new(tool);
        command.arg("version").stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    let found = TOOLS.iter().find(runs);
    found.copied().ok_or(FileError::NoTool)
}

/// Looks whether there is room for each.
///
/// # Errors
/// [`FileError::Exists`].
pub(super) fn check(members: &Members) -> Result<(), FileError> {
    for member in &members.members {
        let directory = directory(members, member);
        if directory.try_exists().unwrap_or(true) {
            return Err(FileError::Exists(directory));
        }
    }
    Ok(())
}

fn directory(members: &Members, member: &Member) -> PathBuf {
    members.into.join(&member.name)
}

/// `--initial-cluster`.
fn cluster(members: &Members) -> String {
    let each = members
        .members
        .iter()
        .map(|member| format!("{}={}", member.name, member.peer_url));
    each.collect::<Vec<_>>().join(",")
}

/// Makes all members from `file`. `token` keeps members of another cluster out. A directory that is
/// not complete is removed.
///
/// # Errors
/// The tool's.
pub(super) fn make(
    tool: &'static str,
    file: &Path,
    members: &Members,
    token: &str,
) -> Result<(), FileError> {
    for member in &members.members {
        let directory = directory(members, member);
        tracing::info!(tool, directory = %directory.display(), "making member {}", member.name);
        let output = Command::new(tool)
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(file)
            .arg("--data-dir")
            .arg(&directory)
            .args(["--name", &member.name])
            .args(["--initial-cluster", &cluster(members)])
            .args(["--initial-cluster-token", token])
            .args(["--initial-advertise-peer-urls", &member.peer_url])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| FileError::Io {
                op: "run",
                path: tool.into(),
                source,
            })?;
        if !output.status.success() {
            // It was not there before: `check`.
            let _ = fs::remove_dir_all(&directory);
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(FileError::Tool {
                tool,
                member: member.name.clone(),
                said: said.trim().lines().last().unwrap_or("nothing").to_owned(),
            });
        }
    }
    Ok(())
}

/// The command that makes each member, for who has only the file.
pub(super) fn restore_command(file: &Path) -> String {
    format!(
        "etcdutl snapshot restore {} --data-dir DIR --name NAME --initial-cluster \
         NAME=PEER-URL,... --initial-cluster-token TOKEN --initial-advertise-peer-urls PEER-URL",
        quoted(&file.display().to_string())
    )
}

/// The command that starts each of them, so that clients reach it from its own machine only.
pub(super) fn start_commands(members: &Members, token: &str) -> Vec<String> {
    let each = members.members.iter().map(|member| {
        let directory = directory(members, member);
        format!(
            "etcd --name {} --data-dir {} --initial-cluster {} --initial-cluster-token {token} \
             --listen-peer-urls {url} --initial-advertise-peer-urls {url} \
             --listen-client-urls {ONLY_HERE} --advertise-client-urls {ONLY_HERE}",
            member.name,
            quoted(&directory.display().to_string()),
            cluster(members),
            url = member.peer_url,
        )
    });
    each.collect()
}

/// As a shell reads it as one word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(into: &Path) -> Members {
        let member = |name: &str, port| Member {
            name: name.to_owned(),
            peer_url: format!("http://10.0.0.1:{port}"),
        };
        Members {
            into: into.to_owned(),
            members: vec![member("a", 1), member("b", 2)],
        }
    }

    #[test]
    fn each_member_is_told_of_all_and_listens_to_its_own_machine_only() {
        let commands = start_commands(&members(Path::new("/it's here")), "t");
        assert_eq!(commands.len(), 2);
        assert!(commands[1].contains("--name b --data-dir '/it'\\''s here/b'"));
        assert!(commands[1].contains("--initial-cluster a=http://10.0.0.1:1,b=http://10.0.0.1:2 "));
        assert!(commands[1].contains("--listen-peer-urls http://10.0.0.1:2 "));
        assert!(commands[1].contains("--listen-client-urls http://127.0.0.1:2379 "));
    }

    #[test]
    fn a_member_that_is_there_already_is_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        let members = members(dir.path());
        check(&members).expect("neither is there");
        fs::create_dir(dir.path().join("b")).expect("created");
        let error = check(&members).expect_err("b is there");
        assert!(error.to_string().contains("/b exists already"), "{error}");
    }
}
