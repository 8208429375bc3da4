//! The suite on each engine, and the canary.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_client::Uri;
use cairn_lite::{Control, Options, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cluster::conformance::etcd::EtcdRig;
use crate::cluster::conformance::fake::FakeRig;
use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::rig::Rig;
use crate::cluster::conformance::suite::{conforms, properties};
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::doozer::Doozer;
use crate::cluster::error::Error;
use crate::cluster::in_process::InProcess;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;

/// A doozer-lite node.
struct Lite {
    server: Server,
    uri: Uri,
    control: Control,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Lite {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let uri = Uri::from_address(&address)?;
        let server = Server::new(Options::default())?;
        server.begin(&address);
        let serving = server.clone().run_also(listener, std::future::pending());
        Ok(Self {
            control: server.control(),
            serving: tokio::spawn(serving),
            server,
            uri,
        })
    }
}

impl Drop for Lite {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A node over the wire.
struct OverTheWire(Lite);

impl Rig for OverTheWire {
    type Cluster = Doozer;

    fn cluster(&self, id: Id) -> Doozer {
        Doozer::new(self.0.uri.clone(), id)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.0.control.forget_history();
        Ok(())
    }

    async fn cut(&self) -> anyhow::Result<()> {
        self.0.control.drop_connections();
        Ok(())
    }
}

/// A node over the wire that does not say that it is `doozer-lite`, and so is asked and written to
/// like a real one.
struct AsARealNode(OverTheWire);

impl AsARealNode {
    async fn start() -> anyhow::Result<Self> {
        let lite = Lite::start().await?;
        let client = cairn_client::Client::connect(&lite.uri).await?;
        let name = String::from_utf8(client.self_name().await?.to_vec())?;
        let version = format!("/ctl/node/{name}/version");
        let any = cairn_client::Revision::ANY;
        client.set(&version, any, "0.8+mod").await?;
        Ok(Self(OverTheWire(lite)))
    }
}

impl Rig for AsARealNode {
    type Cluster = Doozer;

    fn cluster(&self, id: Id) -> Doozer {
        self.0.cluster(id)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.0.forget().await
    }

    async fn cut(&self) -> anyhow::Result<()> {
        self.0.cut().await
    }
}

/// A node in this process, by calls.
struct ByCalls(OverTheWire);

impl Rig for ByCalls {
    type Cluster = InProcess;

    fn cluster(&self, id: Id) -> InProcess {
        InProcess::new(self.0.0.server.clone(), id)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.0.forget().await
    }

    async fn cut(&self) -> anyhow::Result<()> {
        self.0.cut().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doozer_over_the_wire_conforms() {
    conforms(async || Ok(OverTheWire(Lite::start().await?))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doozer_conforms_when_it_is_asked_like_a_real_node() {
    conforms(async || AsARealNode::start().await).await;
}

/// The story: a real node sends path and value in one packet. A longer write never returned, and
/// that of a mirror entry, whose path is longer than the mirrored one, wedged the node for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_real_node_would_choke_on_is_not_sent() {
    let rig = AsARealNode::start().await.expect("a node");
    let session = rig.cluster(1).open().await.expect("a session");
    let limits = session.limits().await.expect("limits");
    let path = |bytes: usize| Bytes::from(format!("/{}", "p".repeat(bytes - 1)));
    let value = |bytes: usize| Bytes::from(vec![b'v'; bytes]);
    let (short, rest) = (path(100), value(limits.revision_bytes - 100));
    let fits = session.put(&short, Expect::Any, rest).await;
    fits.expect("it fits");
    let before = session.revision().await.expect("a revision");
    let long = path(limits.revision_bytes - 10);
    let mirror = ControlKey::Mirror(1, long.clone());
    let too_long = path(limits.revision_bytes + 1);
    for refused in [
        session
            .put(&path(101), Expect::Any, value(limits.revision_bytes - 100))
            .await
            .map(drop),
        session.put(&long, Expect::Any, value(11)).await.map(drop),
        session
            .write(&mirror, Expect::Any, value(3))
            .await
            .map(drop),
        session.delete(&mirror, Expect::Any).await.map(drop),
        session.remove(&too_long, Expect::Any).await.map(drop),
    ] {
        let Err(Error::Refused(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            why.contains("in one packet") && why.contains("/pp"),
            "{why}"
        );
    }
    assert_eq!(session.revision().await.expect("a revision"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doozer_in_this_process_conforms() {
    conforms(async || Ok(ByCalls(OverTheWire(Lite::start().await?)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_of_one_member_conforms() {
    conforms(async || EtcdRig::start(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_read_from_snapshots_conforms() {
    conforms(async || EtcdRig::start(1)?.spooling()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_of_three_members_conforms() {
    conforms(async || EtcdRig::start(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_conforms() {
    conforms(async || Ok(FakeRig::new(Fault::None))).await;
}

/// Each fault, and the property that must notice it.
const FAULTS: [(Fault, &str); 35] = [
    (
        Fault::SkipsRevisions,
        "every_revision_comes_once_and_in_order",
    ),
    (
        Fault::RepeatsRevisions,
        "every_revision_comes_once_and_in_order",
    ),
    (Fault::SplitsRevisions, "a_revision_comes_whole"),
    (Fault::TellsOneTouched, "a_revision_comes_whole"),
    (Fault::TellsControl, "control_writes_are_no_changes"),
    (
        Fault::HidesControl,
        "control_writes_are_told_where_that_is_offered",
    ),
    (Fault::TellsAllOwners, "keys_that_decide_are_told"),
    (Fault::HidesLeases, "leases_are_told_where_that_is_offered"),
    (Fault::KeepsLeases, "leases_that_are_gone_are_told"),
    (Fault::WaitsForNothing, "the_future_is_waited_for"),
    (
        Fault::SkipsTheFirst,
        "history_is_told_from_the_very_first_revision",
    ),
    (Fault::LosesTheBacklog, "a_long_backlog_comes_whole"),
    (Fault::BeginsLate, "forgotten_history_is_an_error"),
    (Fault::GoesOn, "a_cut_ends_the_stream"),
    (
        Fault::SnapshotIsOld,
        "a_snapshot_and_what_follows_is_the_state",
    ),
    (
        Fault::SnapshotLacks,
        "a_snapshot_has_every_key_and_no_control_key",
    ),
    (
        Fault::SnapshotHasControl,
        "a_snapshot_has_every_key_and_no_control_key",
    ),
    (
        Fault::AttributesChange,
        "attributes_stay_while_nothing_changes",
    ),
    (Fault::MirrorsMixUp, "the_mirror_is_listed_and_nothing_else"),
    (
        Fault::AnnouncesOne,
        "announcements_are_those_of_each_persister",
    ),
    (
        Fault::LoadsNothing,
        "a_whole_state_is_loaded_where_that_is_offered",
    ),
    (Fault::ExpectsNothing, "expectations_hold"),
    (
        Fault::WritesHalf,
        "writes_of_one_revision_are_all_or_nothing",
    ),
    (Fault::FenceIsOpen, "a_fence_holds_where_it_is_offered"),
    (Fault::MixesConflicts, "a_fence_holds_where_it_is_offered"),
    (
        Fault::MiscountsDeletes,
        "a_delete_tells_its_revision_or_none",
    ),
    (
        Fault::TakesAnything,
        "what_cannot_be_is_refused_and_what_can_be_is_taken",
    ),
    (Fault::RefusesNeighbours, "keys_that_exclude_each_other_do"),
    (
        Fault::AdvancesTwice,
        "an_advance_is_one_revision_without_changes",
    ),
    (Fault::LosesOrder, "order_is_kept_where_it_is_offered"),
    (Fault::Lags, "what_was_acknowledged_is_there"),
    (
        Fault::GrantsNothing,
        "keys_stand_under_leases_where_that_is_offered",
    ),
    (Fault::Reconnects, "a_session_never_comes_back"),
    (Fault::KeepsOwners, "an_owner_lives_as_it_says"),
    (
        Fault::HidesRollBacks,
        "a_roll_back_shows_where_there_can_be_one",
    ),
];

/// Time passes as soon as nothing else can happen: what must not come is not waited for.
#[tokio::test(start_paused = true)]
async fn each_wrong_engine_is_caught() {
    let all = properties::<FakeRig>();
    for (fault, name) in FAULTS {
        let property = all.iter().find(|property| property.name == name);
        let property = property.unwrap_or_else(|| panic!("there is no property {name}"));
        let held = property.holds(&FakeRig::new(fault)).await;
        assert!(held.is_err(), "{name} holds although the engine {fault:?}");
    }
    let named: BTreeSet<&str> = FAULTS.iter().map(|(_, name)| *name).collect();
    for property in all {
        assert!(
            named.contains(property.name),
            "nothing shows that {} can fail",
            property.name
        );
    }
}
