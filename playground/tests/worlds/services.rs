//! The programs that machines run: nodes, persisters, members of etcd, proxies.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cairn_playground::programs::Programs;
use cairn_playground::world::services::{
    EtcdCluster, EtcdMember, Front, Haproxy, Lite, Program, answers_http, http_body,
};
use cairn_playground::world::{Command, Machine, Port, World};

use crate::{cairn, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_took_is_said_and_a_replaced_machine_has_another() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let port = world.port()?;
    let program = Programs::within(cairn()).node;
    let lite = Lite {
        program,
        port: port.clone(),
        args: Vec::new(),
    };
    let machine = world.machine("node-1", vec![Box::new(lite)]);
    let taken = TcpListener::bind(port.address())?;
    let error = machine.run(Command::Start).await;
    // Whoever has the port accepts connections, so it may count as ready before its end is noticed.
    if let Err(error) = error {
        let said = error.to_string();
        ensure!(said.contains("cannot listen on 127.0.0.1"), "{said}");
    }
    let old = port.get();
    machine.run(Command::Replace).await?;
    ensure!(port.get() != old && machine.is_up());
    drop(taken);
    Ok(())
}

/// A cluster of three members, and where clients find each.
async fn members(world: &mut World, etcd: Program) -> Result<(Vec<Arc<Machine>>, Vec<Port>)> {
    let mut told = Vec::new();
    for n in 1..=3 {
        told.push((format!("m{n}"), world.port()?));
    }
    let cluster = EtcdCluster::new("test", told.clone());
    let (mut machines, mut clients) = (Vec::new(), Vec::new());
    for (name, peer) in told {
        let client = world.port()?;
        clients.push(client.clone());
        let member = EtcdMember {
            program: etcd.clone(),
            name: name.clone(),
            client,
            peer,
            behind: None,
            cluster: cluster.clone(),
            args: Vec::new(),
        };
        machines.push(world.machine(&name, vec![Box::new(member)]));
    }
    World::together(&machines, Command::Start).await?;
    Ok((machines, clients))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_etcd_behind_a_proxy_are_machines_too() -> Result<()> {
    let (etcd, haproxy) = (EtcdMember::installed()?, Haproxy::installed()?);
    let (mut world, _scratch) = world()?;
    let (machines, clients) = members(&mut world, etcd).await?;
    let port = world.port()?;
    let backends = machines.iter().zip(&clients);
    let backends = backends.map(|(machine, port)| (machine.name().to_owned(), port.clone()));
    let proxy = Haproxy {
        program: haproxy,
        fronts: vec![Front {
            name: "front".into(),
            port: port.clone(),
            backends: backends.collect(),
        }],
        alive: None,
        all: false,
        check: Some("/health".into()),
        every: Duration::from_millis(500),
    };
    let proxy = world.machine("proxy", vec![Box::new(proxy)]);
    proxy.run(Command::Start).await?;
    let through = async || http_body(&port.address(), "/health").await;
    wait_until("the proxy leads to a member", async || {
        through().await.is_some()
    })
    .await?;

    // A halted member accepts connections and answers nothing; the proxy must notice, and lead
    // elsewhere.
    machines[0].run(Command::Halt).await?;
    ensure!(!answers_http(&clients[0].address(), "/health").await);
    wait_until("the proxy leads to another", async || {
        through().await.is_some()
    })
    .await?;
    machines[0].run(Command::Resume).await?;

    // What is taken out is not used, although it is well.
    let slot = |machine: &Arc<Machine>| machine.name().to_owned();
    let directory = proxy.directory_of("haproxy").context("it has one")?;
    for machine in &machines {
        Haproxy::take_out(directory, "front", &slot(machine)).await?;
    }
    ensure!(through().await.is_none(), "nobody may be used");
    Haproxy::register(directory, "front", &slot(&machines[1]), &clients[1]).await?;
    wait_until(
        "the proxy leads to the one that is registered",
        async || through().await.is_some(),
    )
    .await?;
    let unknown = Haproxy::register(directory, "front", "nobody", &clients[1]).await;
    ensure!(unknown.is_err_and(|error| error.to_string().contains("No such server")));
    for (machine, client) in machines.iter().zip(&clients) {
        Haproxy::register(directory, "front", &slot(machine), client).await?;
    }

    World::cut_power(&machines).await?;
    ensure!(through().await.is_none(), "nobody is left to answer");
    World::together(&machines, Command::Start).await?;
    wait_until("it is back", async || through().await.is_some()).await?;
    let health = through().await.context("a healthy member")?;
    ensure!(health.contains("true"), "{health}");
    world.end().await;
    Ok(())
}

async fn wait_until(what: &str, is_it: impl AsyncFn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is_it().await {
        ensure!(start.elapsed() < crate::DEADLINE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
