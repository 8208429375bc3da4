//! Listings: complete, in order, without repetition, also when history is discarded meanwhile.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use cairn_client::wire::{ErrCode, Response, Verb};
use cairn_client::{Client, ErrorCode, Event, Options, Revision, path};
use fastrand::Rng;
use futures::{Stream, StreamExt, TryStreamExt};

use crate::fake::{Fake, failure};
use crate::model::Model;

async fn connect(model: &Model) -> Client {
    Client::connect_with(&model.uri, Model::options())
        .await
        .unwrap()
}

async fn paths(walk: impl Stream<Item = cairn_client::Result<Event>>) -> Vec<String> {
    walk.map_ok(|event| event.path).try_collect().await.unwrap()
}

/// Names around the slash, so that the order of texts is not the order of paths.
fn some_path(rng: &mut Rng) -> String {
    let name = |rng: &mut Rng| ["a", "a-", "a.", "a.b", "b", "0", "Z"][rng.usize(..7)].to_owned();
    // Files and directories by different names.
    format!("/d{}/d{}/f{}", name(rng), name(rng), rng.u8(0..15))
}

#[tokio::test]
async fn a_walk_sees_one_revision_and_asks_ahead() {
    let mut rng = Rng::with_seed(crate::seed());
    let model = Model::start(1).await;
    for _ in 0..500 {
        model.set(&some_path(&mut rng), "x");
    }
    let client = connect(&model).await;
    let mut walk = client.walk("/**", None);
    let mut seen = vec![walk.next().await.unwrap().unwrap().path];
    // None of this is to be seen.
    for path in ["/0first", "/da/new", "/last"] {
        model.set(path, "late");
    }
    seen.extend(paths(walk).await);
    assert!(
        !seen
            .iter()
            .any(|path| path.ends_with("new") || !path.starts_with("/d"))
    );
    assert!(seen.is_sorted_by(|a, b| path::compare(a, b) == Ordering::Less));
    let asked = model.requests(Verb::Walk);
    println!("{} entries with {asked} WALKs", seen.len());
    assert!(asked <= seen.len() + 64);
    assert_eq!(paths(client.walk("/last", None)).await, ["/last"]);
    assert_eq!(paths(client.walk("/none", None)).await, [""; 0]);
}

/// Files come and go, and history is discarded every few answers.
#[tokio::test]
async fn a_walk_over_discarded_history_neither_skips_nor_repeats() {
    let seed = crate::seed();
    let mut rng = Rng::with_seed(seed);
    let mut pins = 0;
    for round in 0..30 {
        let model = Model::start(seed + round).await;
        for _ in 0..400 {
            model.set(&some_path(&mut rng), "x");
        }
        let client = connect(&model).await;
        let before_walk = paths(client.walk("/**", None)).await;
        let mut always: BTreeSet<String> = before_walk.into_iter().collect();
        model.forget_after(5..40);
        if round % 2 == 0 {
            model.cut_after(5..100);
        }
        let before = model.requests(Verb::Rev);
        let mut walk = client.walk("/**", None);
        let mut seen = Vec::new();
        while let Some(event) = walk.next().await {
            seen.push(event.unwrap().path);
            if rng.u8(0..4) == 0 {
                let path = some_path(&mut rng);
                model.set(&path, "y");
                let path = some_path(&mut rng);
                model.del(&path);
                always.remove(&path);
            }
        }
        pins += model.requests(Verb::Rev) - before;
        assert!(
            seen.is_sorted_by(|a, b| path::compare(a, b) == Ordering::Less),
            "{seen:?}"
        );
        for path in &always {
            assert!(seen.contains(path), "{path} was left out");
        }
    }
    println!("{pins} pins in 30 walks");
    assert!(pins > 60);
}

#[tokio::test]
async fn a_revision_that_the_caller_chose_is_not_exchanged_for_another() {
    let model = Model::start(1).await;
    for n in 0..100 {
        model.set(&format!("/{n}"), "x");
    }
    let client = connect(&model).await;
    assert_eq!(
        paths(client.walk("/**", Some(Revision(2)))).await,
        ["/0", "/1"]
    );
    let mut walk = client.walk("/**", Some(Revision(90)));
    walk.next().await.unwrap().unwrap();
    model.forget_before(95);
    let error = loop {
        if let Err(error) = walk.next().await.unwrap() {
            break error;
        }
    };
    assert!(error.is_too_late());
    assert!(walk.next().await.is_none());
}

#[tokio::test]
async fn a_directory_is_listed_by_name() {
    let seed = crate::seed();
    let model = Model::start(seed).await;
    for n in 0..150 {
        model.set(&format!("/d/{n:03}/x"), "");
        model.set(&format!("/d/{n:03}/y"), "");
    }
    model.set("/e", "");
    let client = connect(&model).await;
    let names = |names: Vec<String>| names.join(" ");
    let root: Vec<String> = client.getdir("/", None).try_collect().await.unwrap();
    assert_eq!(names(root), "d e");
    model.forget_after(10..40);
    let mut listing = client.getdir("/d", None);
    let mut seen = Vec::new();
    while let Some(name) = listing.next().await {
        seen.push(name.unwrap());
        model.nop();
    }
    let expected: Vec<String> = (0..150).map(|n| format!("{n:03}")).collect();
    assert_eq!(seen, expected);
    let missing = client
        .getdir("/none", None)
        .next()
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NoEnt));
}

/// When the rest of a directory vanishes together with the history, the listing is complete.
#[tokio::test]
async fn a_directory_that_vanishes_ends() {
    let model = Model::start(1).await;
    let all: Vec<String> = (0..50).map(|n| format!("/d/{n:02}")).collect();
    for path in &all {
        model.set(path, "");
    }
    let options = Options {
        list_window: 1,
        ..Model::options()
    };
    let client = Client::connect_with(&model.uri, options).await.unwrap();
    let mut listing = client.getdir("/d", None);
    assert_eq!(listing.next().await.unwrap().unwrap(), "00");
    for path in &all {
        model.del(path);
    }
    let newest = model.nop().revision.0;
    model.forget_before(newest);
    assert!(listing.next().await.is_none());
}

/// The story: a server that answered every offset was listed for ever.
#[tokio::test]
async fn a_listing_that_does_not_end_is_an_error() {
    let fake = Fake::start().await;
    let options = Options {
        list_window: 1,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let same = Response {
        path: Some("again".to_owned()),
        ..Response::default()
    };
    let mut names = client.getdir("/", Some(Revision(58)));
    let (first, _) = tokio::join!(names.next(), peer.answer(Verb::Getdir, same.clone()));
    assert_eq!(first.unwrap().unwrap(), "again");
    let (second, _) = tokio::join!(names.next(), peer.answer(Verb::Getdir, same));
    let error = second.unwrap().unwrap_err();
    assert!(error.to_string().contains("does not end"), "{error}");
    assert!(names.next().await.is_none());
}

/// A directory in which there is a directory in which there is one, and so on.
#[tokio::test]
async fn a_tree_without_end_is_an_error() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let name = "n".repeat(20_000);
    let served = async {
        while let Some(request) = peer.request_or_end().await {
            let response = match request.verb {
                Some(verb) if verb == Verb::Getdir as i32 && request.offset == Some(0) => {
                    Response {
                        path: Some(name.clone()),
                        ..Response::default()
                    }
                }
                Some(verb) if verb == Verb::Getdir as i32 => failure(ErrCode::Range as i32),
                _ => failure(ErrCode::Isdir as i32),
            };
            peer.send(Response {
                tag: request.tag,
                ..response
            })
            .await;
        }
    };
    let listed = async {
        let tree = client.tree("/", Some(Revision(58)));
        let error = tree.try_collect::<Vec<_>>().await.unwrap_err();
        drop(client);
        error
    };
    let (error, ()) = tokio::join!(listed, served);
    assert!(error.to_string().contains("can be none"), "{error}");
}
