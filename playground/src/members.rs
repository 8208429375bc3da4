//! The members of a cluster of etcd: who leads, who forms a cluster, and who joins one.
//!
//! What is on a member's disk decides. With data it comes back as what it was. Without, it is
//! nobody: started with its old name it would forget for whom it voted, so it is taken out of the
//! cluster and made known anew before it starts. Only where nobody has data, those that are started
//! together form a new cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cairn_etcd::wire::{
    HashKvRequest, Member, MemberAddRequest, MemberListRequest, MemberRemoveRequest, StatusRequest,
};
use cairn_etcd::{Cluster, Environment, Options, Session, Target};
use futures::future::join_all;

use crate::tool;
use crate::world::decide::{Command, Condition};
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::etcd::{EtcdCluster, EtcdMember};
use crate::world::services::program::Program;

/// How long a cluster may take to elect a leader, to let a member go, or to take one in.
const LIMIT: Duration = Duration::from_secs(30);

/// How long one member may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long one call may take. A change of members that is proposed while nobody leads is lost, and
/// never answered: it is asked for again.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A member on its machine.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The machine.
    pub machine: Arc<Machine>,
    /// What the member is called among the services of its machine.
    pub service: String,
    /// Where clients reach it.
    pub client: Port,
    /// Where other members reach it.
    pub peer: Port,
}

impl Seat {
    /// Its name in the cluster: that of its machine.
    #[must_use]
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// Whether its disk holds anything.
    #[must_use]
    pub fn has_data(&self) -> bool {
        let directory = self.machine.directory_of(&self.service);
        directory.is_some_and(|directory| EtcdMember::data(directory).exists())
    }

    pub(crate) fn runs(&self) -> bool {
        let about = self.machine.about().into_iter();
        let mut member = about.filter(|it| it.name == self.service);
        member.any(|it| it.condition == Condition::Up)
    }

    async fn start(&self) -> Result<()> {
        let started = self.machine.run_on(Command::Start, Some(&self.service));
        Ok(started.await?)
    }

    fn url(&self) -> String {
        format!("http://{}", self.peer.address())
    }

    /// A session with this very member, which need not have a leader.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn session(&self) -> Result<Session> {
        let uri = format!("etcd://{}", self.client.address()).parse()?;
        let options = Options {
            connect_timeout: ANSWER_LIMIT,
            request_timeout: CALL_LIMIT,
            require_leader: false,
            ..Options::default()
        };
        let cluster = Cluster::new(Target::new(&uri, &Environment::default())?, options);
        Ok(cluster.open().await?)
    }
}

/// All members, whether they run or not.
#[derive(Debug)]
pub struct Members {
    seats: Vec<Seat>,
    cluster: EtcdCluster,
}

impl Members {
    /// These, which were told of this cluster.
    #[must_use]
    pub fn new(seats: Vec<Seat>, cluster: EtcdCluster) -> Self {
        Self { seats, cluster }
    }

    /// All of them.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    fn those(&self, which: &[Arc<Machine>]) -> impl Iterator<Item = &Seat> {
        let is_one = |seat: &&Seat| which.iter().any(|one| Arc::ptr_eq(one, &seat.machine));
        self.seats.iter().filter(is_one)
    }

    /// Starts those of these machines that are members: see the head of this module.
    ///
    /// # Errors
    /// The first that does not start, or is not taken in.
    pub async fn start(&self, which: &[Arc<Machine>]) -> Result<()> {
        let (known, empty): (Vec<&Seat>, Vec<&Seat>) =
            self.those(which).partition(|seat| seat.has_data());
        if !self.seats.iter().any(Seat::has_data) {
            let told = empty.iter();
            let told = told.map(|seat| (seat.name().to_owned(), seat.peer.clone()));
            let token = format!("cairn-{:016x}", fastrand::u64(..));
            self.cluster.begins_anew(&token, told.collect());
            return together(&empty).await;
        }
        together(&known).await?;
        for seat in empty {
            self.join(seat).await?;
        }
        Ok(())
    }

    /// Makes a member known that has nothing on disk, and starts it.
    ///
    /// # Errors
    /// If the others do not take it in.
    pub async fn join(&self, seat: &Seat) -> Result<()> {
        let members = self.asked(seat, true).await?;
        let told = members.into_iter().filter_map(|member| {
            let seats = self.seats.iter();
            let mut at = seats.filter(|seat| member.peer_urls.contains(&seat.url()));
            let seat = at.next()?;
            Some((seat.name().to_owned(), seat.peer.clone()))
        });
        self.cluster.joins(told.collect());
        seat.start().await
    }

    /// Takes a member out of the cluster, if it is in it.
    ///
    /// # Errors
    /// If the others do not let it go.
    pub async fn remove(&self, seat: &Seat) -> Result<()> {
        self.asked(seat, false).await.map(drop)
    }

    async fn take_out(&self, session: &Session, seat: &Seat) -> Result<()> {
        for member in list(session).await? {
            if member.name == seat.name() || member.peer_urls.contains(&seat.url()) {
                session.call(MemberRemoveRequest { id: member.id }).await?;
            }
        }
        Ok(())
    }

    /// Asks the others until a member is out of the cluster, and then, if it comes anew, known to
    /// it. Gives all members.
    async fn asked(&self, seat: &Seat, comes: bool) -> Result<Vec<Member>> {
        let start = Instant::now();
        loop {
            let mut failed = anyhow::anyhow!("no other member runs");
            let others = self.seats.iter().filter(|it| it.name() != seat.name());
            for other in others.filter(|other| other.runs()) {
                match self.ask(other, seat, comes).await {
                    Ok(members) => return Ok(members),
                    Err(error) => failed = error,
                }
            }
            if start.elapsed() > LIMIT {
                let verb = if comes { "take in" } else { "let go of" };
                let name = seat.name();
                return Err(failed.context(format!("nobody would {verb} {name} in {LIMIT:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(&self, other: &Seat, seat: &Seat, comes: bool) -> Result<Vec<Member>> {
        let session = other.session().await?;
        self.take_out(&session, seat).await?;
        if !comes {
            return list(&session).await;
        }
        let peer_urls = vec![seat.url()];
        Ok(session.call(MemberAddRequest { peer_urls }).await?.members)
    }

    /// Which members the cluster has, as one of those says that run.
    ///
    /// # Errors
    /// If none answers.
    pub async fn list(&self) -> Result<Vec<Member>> {
        let mut failed = anyhow::anyhow!("no member runs");
        for seat in self.seats.iter().filter(|seat| seat.runs()) {
            let asked = async { list(&seat.session().await?).await };
            match asked.await {
                Ok(members) => return Ok(members),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The member that leads now, if one does.
    pub async fn leads(&self) -> Option<&Seat> {
        // A member that was cut off may believe that it leads: the highest term is right.
        let mut found: Option<(u64, &Seat)> = None;
        for seat in self.seats.iter().filter(|seat| seat.runs()) {
            let status = async { anyhow::Ok(seat.session().await?.call(StatusRequest {}).await?) };
            let Ok(status) = status.await else { continue };
            let leads = status
                .header
                .is_some_and(|it| it.member_id == status.leader);
            if leads && found.is_none_or(|(term, _)| term < status.raft_term) {
                found = Some((status.raft_term, seat));
            }
        }
        found.map(|(_, seat)| seat)
    }

    /// The member that leads. Waits until there is one.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn leader(&self) -> Result<&Seat> {
        let start = Instant::now();
        loop {
            if let Some(seat) = self.leads().await {
                return Ok(seat);
            }
            ensure!(start.elapsed() < LIMIT, "no member leads within {LIMIT:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all members that run have reached the newest revision of now, and compares their
    /// hashes of every key with its history up to there; gives both, and the names of those
    /// members. Clients may go on meanwhile.
    ///
    /// # Errors
    /// If the hashes differ, or a member is still behind when the time is over.
    pub async fn agree(&self) -> Result<(i64, u32, Vec<String>)> {
        let (start, mut newest) = (Instant::now(), 0);
        loop {
            match self.hashes(&mut newest).await {
                Ok(said) => {
                    let (_, hash) = *said.first().context("no member runs")?;
                    ensure!(
                        said.iter().all(|(_, other)| *other == hash),
                        "hashes at revision {newest} differ: {said:?}"
                    );
                    let names = said.into_iter().map(|(name, _)| name);
                    return Ok((newest, hash, names.collect()));
                }
                Err(error) if start.elapsed() > LIMIT => {
                    return Err(error.context(format!("members are not equal in {LIMIT:?}")));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// What each member that runs says at `newest`; if that is 0, the newest revision is found
    /// first. Fails for a member that has not reached it.
    async fn hashes(&self, newest: &mut i64) -> Result<Vec<(String, u32)>> {
        let mut running: Vec<(&str, Session)> = Vec::new();
        for seat in self.seats.iter().filter(|seat| seat.runs()) {
            running.push((seat.name(), seat.session().await?));
        }
        let asks = |revision| HashKvRequest { revision };
        if *newest == 0 {
            for (_, session) in &running {
                let header = session.call(asks(0)).await?.header;
                *newest = header.map_or(0, |it| it.revision).max(*newest);
            }
        }
        let mut said = Vec::new();
        for (name, session) in running {
            let hash = session.call(asks(*newest)).await;
            let hash = hash.with_context(|| format!("{name} at revision {newest}"))?;
            said.push((name.to_owned(), hash.hash));
        }
        Ok(said)
    }

    /// Makes the data of every member from a snapshot, with etcd's own tool. They must be down and
    /// have none.
    ///
    /// # Errors
    /// With what the tool said.
    pub async fn restore(&self, snapshot: &Path, tool: &Program, guard: &Path) -> Result<()> {
        let told = self.seats.iter();
        let told: Vec<_> = told
            .map(|seat| format!("{}={}", seat.name(), seat.url()))
            .collect();
        for seat in &self.seats {
            ensure!(!seat.has_data(), "{} has data: wipe it first", seat.name());
            let directory = seat
                .machine
                .directory_of(&seat.service)
                .context("a member")?;
            std::fs::create_dir_all(directory)?;
            let log = directory.join("restore.log");
            let mut launch = Launch::new("etcdctl", &tool.path, log).args(["snapshot", "restore"]);
            launch.env.push(("ETCDCTL_API".into(), "3".into()));
            let launch = launch.args([snapshot.as_os_str()]).args([
                "--data-dir".into(),
                EtcdMember::data(directory).into_os_string(),
            ]);
            let launch = launch.args(["--name", seat.name()]);
            let launch = launch.args(["--initial-advertise-peer-urls", &seat.url()]);
            let launch = launch.args(["--initial-cluster", &told.join(",")]);
            tool::run(launch, guard, LIMIT).await?;
        }
        Ok(())
    }
}

/// Starts these side by side: one alone has no leader.
async fn together(seats: &[&Seat]) -> Result<()> {
    let down = seats.iter().filter(|seat| !seat.runs());
    let started = join_all(down.map(|seat| seat.start())).await;
    started.into_iter().collect()
}

async fn list(session: &Session) -> Result<Vec<Member>> {
    let members = session.call(MemberListRequest { linearizable: true });
    Ok(members.await?.members)
}
