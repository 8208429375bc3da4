//! Users, rights, and tokens that a member forgets.

use anyhow::Result;
use cairn_etcd::wire::{PutRequest, RangeRequest, WatchCreateRequest};
use cairn_etcd::{Environment, ErrorKind, Options, Secret, User};
use cairn_etcd_member::Member;

use crate::session::cluster;

const ROOT: &[&str] = &["--user", "root:hush"];

fn as_user(name: &str, password: &str) -> Environment {
    Environment {
        user: Some(User {
            name: name.to_owned(),
            password: Secret::new(password),
        }),
        ..Environment::default()
    }
}

fn root(member: &Member, arguments: &[&str]) -> Result<()> {
    member.etcdctl(&[ROOT, arguments].concat()).map(drop)
}

#[tokio::test]
async fn a_token_that_was_forgotten_is_got_again_and_the_write_done_once() -> Result<()> {
    let mut member = Member::start(&[])?;
    let open = async |member: &Member, environment: &Environment| {
        cluster(&member.uri(), environment, Options::default())?
            .open()
            .await
            .map_err(anyhow::Error::from)
    };
    // A user where nobody asks for one.
    let early = open(&member, &as_user("root", "hush")).await?;
    early.call(PutRequest::new("k", "0")).await?;

    member.etcdctl(&["user", "add", "root:hush"])?;
    member.etcdctl(&["user", "grant-role", "root", "root"])?;
    member.etcdctl(&["user", "add", "ada:secret"])?;
    member.etcdctl(&["role", "add", "some"])?;
    member.etcdctl(&["role", "grant-permission", "some", "readwrite", "a"])?;
    member.etcdctl(&["user", "grant-role", "ada", "some"])?;
    member.etcdctl(&["auth", "enable"])?;
    early.call(PutRequest::new("k", "1")).await?;

    // Users on and off: the tokens of before are forgotten, over a connection that lives.
    let session = open(&member, &as_user("root", "hush")).await?;
    root(&member, &["auth", "disable"])?;
    member.etcdctl(&["auth", "enable"])?;
    let before = session.call(RangeRequest::key("k")).await?.kvs[0].version;
    root(&member, &["auth", "disable"])?;
    member.etcdctl(&["auth", "enable"])?;
    session.call(PutRequest::new("k", "2")).await?;
    let after = session.call(RangeRequest::key("k")).await?.kvs[0].version;
    assert_eq!(after, before + 1);
    root(&member, &["auth", "disable"])?;
    member.etcdctl(&["auth", "enable"])?;
    session.watch(WatchCreateRequest::all(0)).await?;

    // What is not allowed is not tried to be.
    let ada = open(&member, &as_user("ada", "secret")).await?;
    ada.call(PutRequest::new("a", "")).await?;
    let failed = ada.call(PutRequest::new("b", "")).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::PermissionDenied, "{failed}");
    assert!(!failed.may_have_happened() && !failed.is_unavailable());
    let failed = ada.watch(WatchCreateRequest::all(0)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::PermissionDenied, "{failed}");

    // A wrong password, and no user where one is asked for.
    let failed = open(&member, &as_user("ada", "wrong-one"))
        .await
        .unwrap_err();
    assert!(!format!("{failed:?} {failed}").contains("wrong-one"));
    let nobody = cluster(&member.uri(), &Environment::default(), Options::default())?;
    let failed = match nobody.open().await {
        Ok(nobody) => nobody.call(PutRequest::new("a", "")).await.unwrap_err(),
        // Newer versions do not even say who they are.
        Err(failed) => failed,
    };
    assert_eq!(failed.kind(), ErrorKind::Unauthenticated, "{failed}");

    // A restart forgets tokens and ends sessions; a new session has a new token.
    member.kill();
    assert!(member.restart()?);
    assert!(session.call(PutRequest::new("k", "3")).await.is_err());
    let again = open(&member, &as_user("root", "hush")).await?;
    again.call(PutRequest::new("k", "4")).await?;
    Ok(())
}
