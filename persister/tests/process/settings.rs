//! Settings as people and unit files give them.

use crate::common::{Embedded, persister};

/// The story: a unit file with `DOOZER_URI=` or `CAIRN_LISTEN=`, to unset it, was wrong usage.
#[test]
fn an_empty_variable_counts_as_unset() {
    let mut check = persister(&["config", "check", "--json"]);
    check.env("CAIRN_ID", "7");
    for name in [
        "DOOZER_URI",
        "DOOZER_RWSECRET",
        "DOOZER_ROSECRET",
        "CAIRN_CONFIG",
        "CAIRN_JOURNAL",
        "CAIRN_MIRROR",
        "CAIRN_ON_DISK_FULL",
        "CAIRN_LISTEN",
        "CAIRN_READY_LAG",
        "CAIRN_SEGMENT_BYTES",
        "CAIRN_CHECKPOINT_EVERY",
        "CAIRN_RETAIN",
        "CAIRN_RETAIN_BYTES",
        "CAIRN_RESTORE_WAIT",
        "CAIRN_RESTORE_WITH",
        "CAIRN_LOG_FORMAT",
    ] {
        check.env(name, "");
    }
    let checked = check.output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    let found: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let plain = persister(&["config", "check", "--json", "--id", "7"]).output();
    let plain: serde_json::Value = serde_json::from_slice(&plain.unwrap().stdout).unwrap();
    assert_eq!(found, plain);
}

#[test]
fn each_command_lists_the_flags_that_it_has_a_use_for() {
    for (command, shown, hidden) in [
        (
            "status",
            &["--cluster", "--json"][..],
            &["--retain", "--embedded", "--repair"][..],
        ),
        (
            "restore",
            &[
                "--cluster",
                "--journal",
                "--prefix",
                "--max-value-bytes",
                "Examples:",
            ],
            &["--listen", "--retain", "--embedded", "--repair", "--mirror"],
        ),
    ] {
        let help = persister(&[command, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in shown {
            assert!(help.contains(flag), "{command}: {flag} is not in\n{help}");
        }
        for flag in hidden {
            assert!(!help.contains(flag), "{command}: {flag} is in\n{help}");
        }
    }
}

/// The story: the embedded cluster took everybody, whatever secret the variable asked for.
#[test]
fn an_embedded_cluster_asks_for_its_secret() {
    for by_variable in [true, false] {
        let args = ["--rwsecret", "hush"];
        let mut persister =
            Embedded::start_with(if by_variable { &[] } else { &args }, None, |command| {
                if by_variable {
                    command.env("DOOZER_RWSECRET", "hush");
                }
            });
        let open = persister.uri.clone();
        persister.uri = format!("{open}&sk=hush");
        persister.set("/a", b"x");
        let refused = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = cairn_client::Client::connect(&open.parse().unwrap()).await?;
                client.set("/b", cairn_client::Revision::ANY, "x").await
            })
        });
        assert!(
            refused.unwrap().is_err(),
            "a stranger without the secret wrote"
        );
        assert!(!persister.told().contains("hush"));
        persister.signal(rustix::process::Signal::TERM);
        persister.ends_with(0);
    }
    let alone = ["config", "check", "--id", "1", "--rwsecret", "hush"];
    let alone = crate::common::persister(&alone).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn a_status_without_a_cluster_says_so_with_its_own_exit_status() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("doozer:?ca={}", listener.local_addr().unwrap());
    drop(listener);
    let status = persister(&["status", "-a", &uri]).output().unwrap();
    assert_eq!(status.status.code(), Some(22), "{status:?}");
}
