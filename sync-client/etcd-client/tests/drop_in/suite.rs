// Included once for each crate, which is called `client` here.

use self::client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, EventType, GetOptions,
    KvClientPrefix, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget,
    Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use super::cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_ranges() -> Result<(), Error> {
    let cluster = cluster::start().await;
    let mut client = connect(&cluster.endpoint).await?;
    let put = client.put("a", "1", None).await?;
    assert!(put.prev_key().is_none());
    let first = put.header().unwrap().revision();
    let with_prev = PutOptions::new().with_prev_key();
    let put = client.put("a", "2", Some(with_prev)).await?;
    assert_eq!(put.prev_key().unwrap().value(), b"1");
    assert_eq!(put.prev_key().unwrap().mod_revision(), first);
    let lease = client.lease_grant(600, None).await?.id();
    let keeping = PutOptions::new().with_ignore_value().with_lease(lease);
    client.put("a", "", Some(keeping)).await?;
    client.put(&b"a\0\xff"[..], vec![0, 255], None).await?;

    let found = client.get("a", None).await?;
    let kv = &found.kvs()[0];
    assert_eq!((kv.value(), kv.version(), kv.lease()), (&b"2"[..], 3, lease));
    let then = GetOptions::new().with_revision(first);
    assert_eq!(client.get("a", Some(then)).await?.kvs()[0].value(), b"1");
    let last = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Key, SortOrder::Descend)
        .with_limit(1);
    let found = client.get("a", Some(last)).await?;
    assert_eq!((found.kvs()[0].key(), found.more()), (&b"a\0\xff"[..], true));
    let count = GetOptions::new().with_all_keys().with_count_only();
    assert!(client.get("", Some(count)).await?.count() >= 2);

    let range = DeleteOptions::new().with_range("b").with_prev_key();
    let deleted = client.delete("a", Some(range)).await?;
    assert_eq!(deleted.deleted(), 2);
    assert_eq!(deleted.prev_kvs()[1].value(), [0, 255]);
    let nothing = client.delete("a", Some(DeleteOptions::new().with_prefix()));
    assert_eq!(nothing.await?.deleted(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions() -> Result<(), Error> {
    let cluster = cluster::start().await;
    let mut client = connect(&cluster.endpoint).await?;
    let within = Txn::new()
        .when([Compare::value("t/none", CompareOp::Equal, "x")])
        .or_else([TxnOp::put("t/within", "3", None)]);
    let create = Txn::new()
        .when([
            Compare::create_revision("t/a", CompareOp::Equal, 0),
            Compare::version("t/", CompareOp::Less, 1).with_prefix(),
            Compare::mod_revision("t/a", CompareOp::NotEqual, 9),
            Compare::lease("t/a", CompareOp::Equal, 0),
        ])
        .and_then([
            TxnOp::put("t/a", "1", Some(PutOptions::new().with_prev_key())),
            TxnOp::get("t/", Some(GetOptions::new().with_prefix().with_keys_only())),
            TxnOp::delete("t/zzz", Some(DeleteOptions::new().with_from_key())),
            TxnOp::txn(within),
        ])
        .or_else([TxnOp::get("t/a", None)]);
    let done = client.txn(create.clone()).await?;
    assert!(done.succeeded());
    let answers = done.op_responses();
    match &answers[..] {
        [
            TxnOpResponse::Put(put),
            TxnOpResponse::Get(get),
            TxnOpResponse::Delete(delete),
            TxnOpResponse::Txn(within),
        ] => {
            assert!(put.prev_key().is_none());
            assert_eq!((get.count(), delete.deleted()), (1, 0));
            assert!(!within.succeeded() && within.op_responses().len() == 1);
        }
        other => panic!("{other:?}"),
    }
    let failed = client.txn(create).await?;
    assert!(!failed.succeeded());
    match &failed.op_responses()[..] {
        [TxnOpResponse::Get(get)] => assert_eq!(get.kvs()[0].value(), b"1"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_watches() -> Result<(), Error> {
    let cluster = cluster::start().await;
    let mut client = connect(&cluster.endpoint).await?;
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut watch = client.watch("w/", Some(options)).await?;
    let granted = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(77)));
    assert_eq!(granted.await?.id(), 77);
    let (mut keeper, mut answers) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    assert_eq!(answers.message().await?.unwrap().ttl(), 600);
    client.put("w/a", "1", Some(PutOptions::new().with_lease(77))).await?;
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(77, Some(keys)).await?;
    assert_eq!((left.granted_ttl(), left.keys()), (600, &[b"w/a".to_vec()][..]));
    client.lease_revoke(77).await?;
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(watch.message().await?.unwrap().events().iter().cloned());
    }
    assert_eq!(events[0].event_type(), EventType::Put);
    assert_eq!(events[0].kv().unwrap().value(), b"1");
    assert_eq!(events[1].event_type(), EventType::Delete);
    assert_eq!(events[1].prev_kv().unwrap().value(), b"1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else() -> Result<(), Error> {
    let cluster = cluster::start().await;
    let mut client = connect(&cluster.endpoint).await?;
    // The parts of a client, and what stands on them.
    let mut space = KvClientPrefix::new(client.kv_client(), b"space/".to_vec());
    let at = space.put("a", "1", None).await?.header().unwrap().revision();
    assert_eq!(client.get("space/a", None).await?.kvs()[0].value(), b"1");
    let mut leases = client.lease_client();
    let lease = leases.grant(600, None).await?.id();
    leases.revoke(lease).await?;
    let lock = client.lock("l", None).await?;
    client.unlock(lock.key()).await?;
    assert!(client.status().await?.db_size() > 0);
    assert_eq!(client.member_list().await?.members().len(), 1);
    client.compact(at, None).await?;
    // Clones and futures go to other tasks; the name of the constructor and its arguments.
    let mut other = Client::connect([&*cluster.endpoint], Some(ConnectOptions::new())).await?;
    let read = tokio::spawn(async move { other.get("space/a", None).await });
    assert_eq!(read.await.unwrap()?.count(), 1);
    let mut other = client.clone();
    tokio::spawn(async move { other.put("b", "1", None).await }).await.unwrap()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_the_servers_codes_and_words() -> Result<(), Error> {
    let cluster = cluster::start().await;
    let mut client = connect(&cluster.endpoint).await?;
    let said = |error: Error| match error {
        Error::GRpcStatus(status) => (status.code() as i32, status.message().to_owned()),
        other => panic!("{other:?}"),
    };
    let leased = PutOptions::new().with_lease(404);
    let (invalid, not_found) = (3, 5);
    let twice = Txn::new().and_then([TxnOp::put("a", "", None), TxnOp::put("a", "", None)]);
    for (error, code, words) in [
        (client.put("", "", None).await.err(), invalid, "key is not provided"),
        (client.put("a", "", Some(leased)).await.err(), not_found, "requested lease not found"),
        (client.put("a", vec![0; 1_900_000], None).await.err(), invalid, "request is too large"),
        (client.delete("", None).await.err(), invalid, "key is not provided"),
        (client.txn(twice).await.err(), invalid, "duplicate key given in txn request"),
        (client.lease_revoke(404).await.err(), not_found, "requested lease not found"),
    ] {
        assert_eq!(said(error.unwrap()), (code, format!("etcdserver: {words}")));
    }
    assert!(Client::connect([] as [&str; 0], None).await.is_err());
    Ok(())
}
