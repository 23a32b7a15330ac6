//! Several engines on one etcd.

use std::{
    collections::BTreeSet,
    io::{Read, Write as _},
    net::TcpStream,
};

use futures_util::{StreamExt, future::join_all};

use super::*;
use crate::Watch;

/// A TTL that the test does not see the end of.
fn long() -> MemoryConfig {
    MemoryConfig { ttl: Duration::from_secs(60), rejected_port_rest: Duration::from_secs(60) }
}

fn short() -> MemoryConfig {
    MemoryConfig { ttl: Duration::from_secs(1), rejected_port_rest: Duration::from_secs(1) }
}

/// Transactions that an etcd has carried out, by its own count.
fn transactions(port: u16) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| {
        line.starts_with("grpc_server_handled_total") && line.contains("grpc_method=\"Txn\"")
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

#[tokio::test]
async fn sixty_four_claims_at_once_cost_about_sixty_four_transactions() {
    let etcd = start_etcd(1).await;
    let engine = engines(&etcd, 1, long()).await.pop().unwrap();
    engine.register_node(wide_node("n")).await.unwrap();
    engine.allocate_port(of("first")).await.unwrap();
    let port = etcd.members[0].port;
    let before = tokio::task::spawn_blocking(move || transactions(port)).await.unwrap();
    let streams: Vec<_> = (0..64).map(|n| format!("s{n}")).collect();
    let grants = join_all(streams.iter().map(|stream| engine.allocate_port(of(stream)))).await;
    let after = tokio::task::spawn_blocking(move || transactions(port)).await.unwrap();
    let ports: BTreeSet<_> =
        grants.into_iter().map(|grant| grant.unwrap().lease.rtp_port).collect();
    assert_eq!(ports.len(), 64);
    println!("64 claims at once: {} transactions", after - before);
    assert!((64..=72).contains(&(after - before)), "{} transactions", after - before);
}

#[tokio::test]
async fn engines_that_grant_at_once_never_grant_one_port_twice_and_seldom_collide() {
    let etcd = start_etcd(1).await;
    let engines = engines(&etcd, 3, long()).await;
    engines[0].register_node(wide_node("n")).await.unwrap();
    for (n, engine) in engines.iter().enumerate() {
        becomes(async || engine.list_nodes().await.unwrap().pop()).await;
        engine.allocate_port(claim(&format!("first{n}"), &format!("i{n}"))).await.unwrap();
    }
    let port = etcd.members[0].port;
    let before = tokio::task::spawn_blocking(move || transactions(port)).await.unwrap();
    let calls = engines.iter().enumerate().flat_map(|(e, engine)| {
        (0..50).map(move |n| engine.allocate_port(claim(&format!("s{e}-{n}"), &format!("i{e}"))))
    });
    let grants: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let after = tokio::task::spawn_blocking(move || transactions(port)).await.unwrap();
    let ports: BTreeSet<_> = grants.iter().map(|grant| grant.lease.rtp_port).collect();
    assert_eq!(ports.len(), 150);
    println!("150 claims at three engines: {} transactions", after - before);
    assert!(after - before <= 450, "{} transactions", after - before);
}

#[tokio::test]
async fn of_two_owners_that_claim_a_thousand_streams_at_once_each_stream_has_one() {
    const STREAMS: usize = 1000;
    let etcd = start_etcd(1).await;
    let engines = engines(&etcd, 2, long()).await;
    engines[0].register_node(wide_node("n")).await.unwrap();
    becomes(async || engines[1].list_nodes().await.unwrap().pop()).await;
    let calls = (0..STREAMS).map(|n| {
        let stream = format!("s{n}");
        let [first, second] = [&engines[0], &engines[1]];
        async move {
            let (one, other) = tokio::join!(
                first.allocate_port(claim(&stream, "i1")),
                second.allocate_port(claim(&stream, "i2")),
            );
            match (one, other) {
                (Ok(grant), Err(RegistryError::Owned { owner_id, epoch, .. }))
                | (Err(RegistryError::Owned { owner_id, epoch, .. }), Ok(grant)) => {
                    assert_eq!(
                        (owner_id, epoch),
                        (grant.lease.owner_id.clone(), grant.lease.epoch)
                    );
                    grant.lease
                }
                both => panic!("{stream}: {both:?}"),
            }
        }
    });
    // A hundred at a time, as that many ingests would.
    let granted: Vec<_> = futures_util::stream::iter(calls).buffered(100).collect().await;
    let ports: BTreeSet<_> = granted.iter().map(|lease| lease.rtp_port).collect();
    assert_eq!(ports.len(), STREAMS);
    for engine in &engines {
        let listed = becomes(async || {
            let leases = engine.list_leases().await.unwrap();
            (leases.len() == STREAMS).then_some(leases)
        });
        let by_port: BTreeSet<_> = listed.await.iter().map(|lease| lease.rtp_port).collect();
        assert_eq!(by_port, ports);
    }
    let first = granted.iter().filter(|lease| lease.owner_id == "i1").count();
    println!("of {STREAMS} streams the first owner got {first}");
}

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn an_engine_shows_what_another_wrote_and_tells_its_watchers() {
    let etcd = start_etcd(1).await;
    let engines = engines(&etcd, 2, long()).await;
    let mut watch = engines[1].watch().await.unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::SnapshotEnd);
    engines[0].register_node(wide_node("n")).await.unwrap();
    let granted = engines[0].allocate_port(of("a")).await.unwrap();
    let WatchEvent::NodeAdded(node) = next(&mut watch).await else { panic!() };
    assert_eq!(node.info, granted.node.info);
    assert_eq!(next(&mut watch).await, WatchEvent::LeaseAdded(granted.lease.clone()));
    let listed = engines[1].list_leases().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&granted.lease));
    // Whoever is asked: the lease is one.
    assert_eq!(engines[1].allocate_port(of("a")).await.unwrap().lease, granted.lease);
    engines[1].release_port(&granted.lease.id).await.unwrap();
    let removed = WatchEvent::LeaseRemoved { lease: granted.lease, expired: false };
    assert_eq!(next(&mut watch).await, removed);
}

#[tokio::test]
async fn what_was_granted_by_an_engine_that_died_is_renewed_by_another() {
    let etcd = start_etcd(1).await;
    let mut engines = engines(&etcd, 2, short()).await;
    engines[0].register_node(wide_node("n")).await.unwrap();
    let held = engines[0].allocate_port(of("a")).await.unwrap().lease;
    drop(engines.remove(0));
    for _ in 0..16 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        engines[0].keep_alive("n").await.unwrap();
        let (lost, _) = engines[0].renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
        assert_eq!(lost, []);
    }
    assert_eq!(engines[0].list_leases().await.unwrap(), [held]);
}

#[tokio::test]
async fn a_lease_that_moved_to_another_engine_is_not_ended_by_the_first() {
    let etcd = start_etcd(1).await;
    let engines = engines(&etcd, 2, long()).await;
    engines[0].register_node(wide_node("n")).await.unwrap();
    let held = engines[0].allocate_port(of("a")).await.unwrap().lease;
    let (lost, _) = engines[1].renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
    assert_eq!(lost, []);
    engines[1].keep_alive("n").await.unwrap();
    let theirs = |engine: &EtcdEngine| engine.shared.lock().homes.due(far()).len();
    becomes(async || (theirs(&engines[0]) == 0).then_some(())).await;
    assert_eq!(theirs(&engines[1]), 2);
    engines[0].advance(Duration::from_secs(61)).await;
    assert_eq!(engines[0].list_leases().await.unwrap(), [held]);
    engines[1].advance(Duration::from_secs(61)).await;
    assert_eq!(engines[1].list_leases().await.unwrap(), []);
}

/// Later than any deadline.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(1 << 20)
}

#[tokio::test]
async fn with_its_engine_a_process_that_nobody_renews_is_gone_after_its_ttl() {
    let etcd = start_etcd(1).await;
    let mut engines = engines(&etcd, 2, short()).await;
    engines[0].register_node(wide_node("n")).await.unwrap();
    let held = engines[0].allocate_port(of("a")).await.unwrap();
    let mut watch = engines[1].watch().await.unwrap();
    while next(&mut watch).await != WatchEvent::SnapshotEnd {}
    drop(engines.remove(0));
    // The view of the other engine may have been behind: then it is told what came first.
    let mut told_next = async || loop {
        let event = next(&mut watch).await;
        if !matches!(event, WatchEvent::LeaseAdded(_) | WatchEvent::NodeAdded(_)) {
            return event;
        }
    };
    let mut told = [told_next().await, told_next().await];
    told.sort_by_key(|event| matches!(event, WatchEvent::NodeRemoved { .. }));
    let [lease, node] = told;
    assert_eq!(lease, WatchEvent::LeaseRemoved { lease: held.lease.clone(), expired: true });
    assert!(matches!(node, WatchEvent::NodeRemoved { expired: true, .. }), "{node:?}");
    // Nothing is left of it.
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", &engines[0].shared.config.prefix]);
    assert!(!keys.contains("legs/") && !keys.contains("ports/"), "{keys}");
    assert!(!keys.contains("streams/") && !keys.contains("sessions/"), "{keys}");
    // The port is free, and the epoch goes on.
    engines[0].register_node(wide_node("n")).await.unwrap();
    let anew = engines[0].allocate_port(claim("a", "i2")).await.unwrap().lease;
    assert_eq!(anew.rtp_port, held.lease.rtp_port);
    assert!(anew.epoch > held.lease.epoch);
}

#[tokio::test]
async fn epochs_go_on_beyond_32_bits() {
    let etcd = start_etcd(1).await;
    let engine = engines(&etcd, 1, MemoryConfig::default()).await.pop().unwrap();
    // As on an etcd that others have written to billions of times.
    let base = format!("{}epoch-base", engine.shared.config.prefix);
    etcd.ctl(&["put", &base, "5000000000"]);
    engine.register_node(wide_node("n")).await.unwrap();
    let held = engine.allocate_port(of("a")).await.unwrap().lease;
    assert!(held.epoch > 5_000_000_000, "{}", held.epoch);
    engine.release_port(&held.id).await.unwrap();
    let wish = Claim { reassert: Some(held.clone()), ..of("a") };
    assert_eq!(engine.allocate_port(wish).await.unwrap().lease, held);
}
