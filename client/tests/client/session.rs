//! One connection after another: which node, which secrets, which cluster.

use std::time::Duration;

use cairn_client::wire::{ErrCode, Response, Verb};
use cairn_client::{Client, Error, ErrorCode, Options, Revision, Status, Uri};
use futures::StreamExt;

use crate::fake::{Fake, failure, file, hasty, revision};

fn uri_of(fakes: &[&Fake]) -> Uri {
    let mut uri = fakes[0].uri();
    uri.addresses = fakes.iter().map(|fake| fake.address()).collect();
    uri
}

/// An address at which nobody listens any more.
async fn deserted() -> String {
    Fake::start().await.address()
}

#[tokio::test]
async fn every_address_is_tried() {
    let fake = Fake::start().await;
    let mut uri = uri_of(&[&fake]);
    uri.addresses.insert(0, deserted().await);
    uri.addresses.insert(0, "no-such-host.invalid:1".to_owned());
    let (client, _peer) = tokio::join!(Client::connect(&uri), fake.greet());
    let status = client.unwrap().status().borrow().clone();
    let address = fake.address();
    assert_eq!(
        status,
        Status::Connected {
            address,
            generation: 1,
            revision: Revision(58)
        }
    );
}

#[tokio::test]
async fn when_no_address_answers_all_are_named() {
    let silent = Fake::start().await;
    let mut uri = uri_of(&[&silent]);
    uri.addresses.push(deserted().await);
    let error = Client::connect_with(&uri, hasty()).await.unwrap_err();
    let Error::Connect { attempts } = &error else {
        panic!("{error:?}");
    };
    let silence = (silent.address(), "no answer within 300ms".to_owned());
    assert!(
        attempts.len() == 2 && attempts.contains(&silence),
        "{attempts:?}"
    );
    assert!(error.is_retryable() && !error.may_have_happened());
    assert!(error.to_string().contains(&uri.addresses[1]), "{error}");
}

/// A machine that is gone without a word must not use up the time for the others.
#[tokio::test]
async fn a_silent_address_does_not_hold_up_the_next_one() {
    let (silent, fake) = (Fake::start().await, Fake::start().await);
    let uri = uri_of(&[&silent, &fake]);
    let options = Options {
        connect_timeout: 2 * crate::fake::PATIENCE,
        ..Options::default()
    };
    let (client, _peer) = tokio::join!(Client::connect_with(&uri, options), fake.greet());
    let status = client.unwrap().status().borrow().clone();
    assert!(matches!(status, Status::Connected { address, .. } if address == fake.address()));
}

#[tokio::test]
async fn a_server_of_another_kind_is_no_server() {
    let fake = Fake::start().await;
    let uri = fake.uri();
    let served = async {
        let mut peer = fake.accept().await;
        peer.send_bytes(b"220 mail.example.org ESMTP\r\n").await;
    };
    let (client, ()) = tokio::join!(Client::connect_with(&uri, hasty()), served);
    let error = client.unwrap_err().to_string();
    assert!(error.contains("over the limit"), "{error}");
}

const SECRET: &str = "correct horse";

#[tokio::test]
async fn secrets_come_first_on_every_connection() {
    let fake = Fake::start().await;
    let mut uri: Uri = format!("doozer:?ca={}&sk=correct+horse", fake.address())
        .parse()
        .unwrap();
    let greeted = async {
        let mut peer = fake.accept().await;
        let access = peer.answer(Verb::Access, Response::default()).await;
        assert_eq!(access.value.unwrap(), SECRET);
        peer.answer_rev(58).await;
        peer
    };
    let (client, mut first) = tokio::join!(Client::connect(&uri), greeted);
    let client = client.unwrap();
    let (more, _) = tokio::join!(
        client.access(b"battery"),
        first.answer(Verb::Access, Response::default())
    );
    more.unwrap();

    first.close().await;
    let mut second = fake.accept().await;
    for secret in [SECRET, "battery"] {
        let access = second.answer(Verb::Access, Response::default()).await;
        assert_eq!(access.value.unwrap(), secret);
    }
    second.answer_rev(58).await;

    // Nothing that can be printed shows it.
    uri.name = Some("name".to_owned());
    let options = Options {
        boot: Some(uri.clone()),
        ..Options::default()
    };
    let access = cairn_client::wire::Request {
        value: Some(SECRET.into()),
        ..Default::default()
    };
    let printed = format!("{uri} {uri:?} {uri:#?} {options:?} {client:?} {access:?}");
    let printed = format!(
        "{printed} {:?} {:?}",
        client.status(),
        client.watch("/a", Revision(1))
    );
    assert!(
        printed.contains("sk=***") && !printed.contains("horse"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_wrong_secret_is_told_as_such_and_not_repeated() {
    let fake = Fake::start().await;
    let uri: Uri = format!("doozer:?ca={}&sk=hush", fake.address())
        .parse()
        .unwrap();
    let served = async {
        let mut peer = fake.accept().await;
        let denial = Response {
            err_detail: Some("permission denied".to_owned()),
            ..failure(ErrCode::Other as i32)
        };
        peer.answer(Verb::Access, denial).await;
    };
    let (client, ()) = tokio::join!(Client::connect(&uri), served);
    let error = client.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ACCESS with the secret (sk= of a URI): refused: permission denied"
    );
    assert!(!format!("{error:?}").contains("hush"));
}

#[tokio::test]
async fn a_node_that_takes_no_writes_is_left_for_one_that_does() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let uri = uri_of(&[&one, &two]);
    let (client, mut first) = tokio::join!(Client::connect(&uri), one.greet());
    let client = client.unwrap();
    let served = async {
        first
            .answer(Verb::Set, failure(ErrCode::Readonly as i32))
            .await;
        assert!(first.request_or_end().await.is_none());
        let mut second = two.greet().await;
        let set = second.answer(Verb::Set, revision(59)).await;
        assert_eq!(set.path.as_deref(), Some("/a"));
        second
    };
    let (set, _second) = tokio::join!(client.set("/a", Revision::ANY, "x"), served);
    assert_eq!(set.unwrap(), Revision(59));
    assert_eq!(client.status().borrow().generation(), 2);
}

#[tokio::test]
async fn answers_that_are_under_way_are_awaited_before_a_node_is_left() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let uri = uri_of(&[&one, &two]);
    let (client, mut first) = tokio::join!(Client::connect(&uri), one.greet());
    let client = client.unwrap();
    let served = async {
        let write = first.request().await;
        let nop = first.request().await;
        first
            .send(Response {
                tag: write.tag,
                ..failure(ErrCode::Readonly as i32)
            })
            .await;
        // Meanwhile the node has become a member: this one is not to be asked for twice.
        assert!(first.is_quiet_for(Duration::from_millis(30)).await);
        first
            .send(Response {
                tag: nop.tag,
                ..Response::default()
            })
            .await;
        let mut second = two.greet().await;
        second.answer(Verb::Set, revision(60)).await;
        assert!(second.is_quiet_for(Duration::from_millis(30)).await);
    };
    let (set, nop, ()) = tokio::join!(client.set("/a", Revision::ANY, "x"), client.nop(), served);
    assert_eq!(set.unwrap(), Revision(60));
    nop.unwrap();
}

#[tokio::test]
async fn when_no_node_takes_writes_the_caller_is_told() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let uri = uri_of(&[&one, &two]);
    let (client, mut first) = tokio::join!(Client::connect(&uri), one.greet());
    let client = client.unwrap();
    let served = async {
        first
            .answer(Verb::Set, failure(ErrCode::Readonly as i32))
            .await;
        let mut second = two.greet().await;
        second
            .answer(Verb::Set, failure(ErrCode::Readonly as i32))
            .await;
        second
    };
    let (set, _second) = tokio::join!(client.set("/a", Revision::ANY, "x"), served);
    let error = set.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ReadOnly));
    assert!(error.is_retryable() && !error.may_have_happened());
}

/// What is not on the wire when the connection breaks happens once, on the next one.
#[tokio::test]
async fn writes_that_were_not_sent_carry_on_elsewhere_in_order() {
    let fake = Fake::start().await;
    let options = Options {
        max_in_flight: 1,
        ..Options::default()
    };
    let (client, mut first) = fake.connect(options).await;
    let served = async {
        first.request().await;
        first.close().await;
        let mut second = fake.greet().await;
        for path in ["/b", "/c"] {
            let set = second.answer(Verb::Set, revision(59)).await;
            assert_eq!(set.path.as_deref(), Some(path));
        }
        assert!(second.is_quiet_for(Duration::from_millis(20)).await);
    };
    let set = |path| client.set(path, Revision::ANY, "x");
    let (a, b, c, ()) = tokio::join!(set("/a"), set("/b"), set("/c"), served);
    assert!(a.unwrap_err().may_have_happened());
    assert!(b.is_ok() && c.is_ok());
}

#[tokio::test]
async fn without_any_node_calls_fail_at_their_deadline_and_say_why() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(hasty()).await;
    drop(fake);
    peer.close().await;
    let mut status = client.status();
    let disconnected = |status: &Status| matches!(status, Status::Disconnected { .. });
    status.wait_for(disconnected).await.unwrap();
    let error = client.set("/a", Revision::ANY, "x").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.is_retryable() && !error.may_have_happened());
}

#[tokio::test]
async fn a_cluster_is_looked_up_by_its_name() {
    let (boot, node) = (Fake::start().await, Fake::start().await);
    let uri: Uri = "doozer:?cn=blue".parse().unwrap();
    let options = Options {
        boot: Some(boot.uri()),
        list_window: 1,
        ..Options::default()
    };
    let served = async {
        let mut peer = boot.greet().await;
        peer.answer_rev(60).await;
        let entry = |name: &str, address: String| Response {
            flags: Some(4),
            path: Some(format!("/ctl/ns/blue/{name}")),
            ..file(9, &address)
        };
        let walk = peer.answer(Verb::Walk, entry("A", deserted().await)).await;
        assert_eq!(walk.path.as_deref(), Some("/ctl/ns/blue/*"));
        peer.answer(Verb::Walk, entry("B", node.address())).await;
        peer.answer(Verb::Walk, failure(ErrCode::Range as i32))
            .await;
        node.greet().await
    };
    let (client, _peer) = tokio::join!(Client::connect_with(&uri, options), served);
    let status = client.unwrap().status().borrow().clone();
    assert!(matches!(status, Status::Connected { address, .. } if address == node.address()));
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_an_error() {
    let boot = Fake::start().await;
    let uri: Uri = "doozer:?cn=blue".parse().unwrap();
    let options = Options {
        boot: Some(boot.uri()),
        list_window: 1,
        ..Options::default()
    };
    let served = async {
        let mut peer = boot.greet().await;
        peer.answer_rev(60).await;
        peer.answer(Verb::Walk, failure(ErrCode::Range as i32))
            .await;
    };
    let (client, ()) = tokio::join!(Client::connect_with(&uri, options), served);
    let error = client.unwrap_err().to_string();
    assert!(
        error.contains("the boot cluster knows no nodes of \"blue\""),
        "{error}"
    );
}

/// A cluster was lost and another one came up at its address, with revisions that start over:
/// waiting there for revision 101 would deliver a stranger's change, or nothing for ever.
#[tokio::test]
async fn a_client_does_not_carry_on_in_another_cluster() {
    let fake = Fake::start().await;
    let (client, mut first) = fake.connect(hasty()).await;
    client.require("/ctl/persistence/cluster", "ours");
    let mut watch = client.watch("/**", Revision(101));
    let served = async {
        first.request().await;
        first.close().await;
        // A connection that breaks is still only that.
        let mut second = fake.greet().await;
        second.answer(Verb::Get, file(60, "ours")).await;
        second.request().await;
        second.close().await;
        let mut third = fake.greet().await;
        third.answer(Verb::Get, file(60, "theirs")).await;
        assert!(third.request_or_end().await.is_none());
    };
    let (event, ()) = tokio::join!(watch.next(), served);
    let error = event.unwrap().unwrap_err();
    let text = "this is another cluster: /ctl/persistence/cluster should be \"ours\" and is \
                \"theirs\"";
    assert_eq!(error.to_string(), text);
    assert_eq!(client.rev().await.unwrap_err().to_string(), text);
}

#[tokio::test]
async fn a_node_without_the_required_file_may_lag_behind() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let uri = uri_of(&[&one, &two]);
    let (client, mut first) = tokio::join!(Client::connect(&uri), one.greet());
    let client = client.unwrap();
    client.require("/id", "ours");
    first.close().await;
    let mut lagging = two.greet().await;
    lagging.answer(Verb::Get, file(0, "")).await;
    let mut again = one.greet().await;
    again.answer(Verb::Get, file(60, "ours")).await;
    let (rev, ()) = tokio::join!(client.rev(), again.answer_rev(61));
    assert_eq!(rev.unwrap(), Revision(61));

    // When all of them lack it, it is gone.
    again.close().await;
    let (mut lagging, mut gone) = (two.greet().await, None);
    lagging.answer(Verb::Get, file(0, "")).await;
    gone.get_or_insert(one.greet().await)
        .answer(Verb::Get, file(0, ""))
        .await;
    let error = client.rev().await.unwrap_err();
    assert!(
        matches!(error, Error::ClusterChanged { found: None, .. }),
        "{error:?}"
    );
}
