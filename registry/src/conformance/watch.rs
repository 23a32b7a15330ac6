//! What watchers are told.

use futures_util::StreamExt;

use super::*;
use crate::{Node, Watch, WatchEvent};

/// All that a watch tells up to the end of its snapshot.
async fn snapshot(watch: &mut Watch) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    loop {
        match watch.next().await {
            Some(Ok(WatchEvent::SnapshotEnd)) => return events,
            Some(Ok(event)) => events.push(event),
            over => panic!("{over:?} after {events:?}"),
        }
    }
}

/// All that watches tell up to now, and that they are at one. A mark is set and waited for, so that a change that is not told
/// is missed at once.
async fn told(engine: &dyn Engine, watches: &mut [Watch]) -> Vec<WatchEvent> {
    engine.register_node(node("mark", 2, 3)).await.unwrap();
    let mut all = Vec::new();
    for watch in watches {
        let mut events = Vec::new();
        loop {
            match watch.next().await {
                Some(Ok(WatchEvent::NodeAdded(node))) if node.info.id == "mark" => break,
                Some(Ok(event)) => events.push(event),
                over => panic!("{over:?} after {events:?}"),
            }
        }
        all.push(events);
    }
    let first = all.swap_remove(0);
    assert!(all.iter().all(|other| *other == first), "{first:?} but {all:?}");
    first
}

async fn watching(engine: &dyn Engine) -> Watch {
    let mut watch = engine.watch().await.unwrap();
    snapshot(&mut watch).await;
    watch
}

async fn listed(engine: &dyn Engine, id: &str) -> Node {
    let mut nodes = engine.list_nodes().await.unwrap().into_iter();
    nodes.find(|node| node.info.id == id).unwrap()
}

pub(super) async fn a_watch_begins_with_all_that_is_there(registries: &dyn Registries) {
    let engine = registries.fresh().await;
    assert_eq!(snapshot(&mut engine.watch().await.unwrap()).await, []);
    for id in ["n2", "n1"] {
        engine.register_node(node(id, 6000, 6009)).await.unwrap();
    }
    for stream in ["b", "a"] {
        lease(&*engine, stream, "i").await;
    }
    let nodes = engine.list_nodes().await.unwrap().into_iter().map(WatchEvent::NodeAdded);
    let leases = engine.list_leases().await.unwrap().into_iter().map(WatchEvent::LeaseAdded);
    let all: Vec<_> = nodes.chain(leases).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(snapshot(&mut engine.watch().await.unwrap()).await, all);
}

pub(super) async fn a_watch_tells_every_change_in_order(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6001)]).await;
    let watch = watching(&*engine).await;
    engine.register_node(node("n2", 6000, 6001)).await.unwrap();
    let added = listed(&*engine, "n2").await;
    engine.register_node(node("n2", 6000, 6005)).await.unwrap();
    let changed = listed(&*engine, "n2").await;
    let first = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    let moved = engine.reject_port(&first.id).await.unwrap().lease;
    let second = grant(&*engine, claim_on("n2", "b", "i")).await.lease;
    engine.release_port(&moved.id).await.unwrap();
    engine.deregister_node("n2").await.unwrap();
    // None of these is a change.
    engine.keep_alive("n1").await.unwrap();
    engine.register_node(node("n1", 6000, 6001)).await.unwrap();
    engine.release_port(&moved.id).await.unwrap();
    engine.allocate_port(claim_on("n2", "c", "i")).await.unwrap_err();

    let last = Node { leases: 0, ..changed.clone() };
    let expected = [
        WatchEvent::NodeAdded(added),
        WatchEvent::NodeChanged(changed),
        WatchEvent::LeaseAdded(first),
        WatchEvent::LeaseChanged(moved.clone()),
        WatchEvent::LeaseAdded(second.clone()),
        WatchEvent::LeaseRemoved { lease: moved, expired: false },
        WatchEvent::LeaseRemoved { lease: second, expired: false },
        WatchEvent::NodeRemoved { node: last, expired: false },
    ];
    assert_eq!(told(&*engine, &mut [watch]).await, expected);
}

pub(super) async fn a_watch_tells_what_expired(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let kept = grant(&*engine, claim_on("n2", "b", "i")).await.lease;
    let gone = grant(&*engine, claim_on("n2", "a", "i")).await.lease;
    let node_gone = listed(&*engine, "n1").await;
    let watch = watching(&*engine).await;
    registries.pass_with_nodes(TTL / 2, &*engine, &["n2"]).await;
    engine.renew_leases("i", &[kept.id]).await.unwrap();
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n2"]).await;
    let told = told(&*engine, &mut [watch]).await;
    let expected = [
        WatchEvent::NodeRemoved { node: node_gone, expired: true },
        WatchEvent::LeaseRemoved { lease: gone, expired: true },
    ];
    assert_eq!(told, expected);
}

pub(super) async fn every_watcher_is_told_the_same(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(watching(&*engine).await);
    }
    let mut expected = Vec::new();
    for n in 0..10 {
        let lease = lease(&*engine, &format!("s{n}"), "i").await;
        engine.release_port(&lease.id).await.unwrap();
        expected.push(WatchEvent::LeaseAdded(lease.clone()));
        expected.push(WatchEvent::LeaseRemoved { lease, expired: false });
    }
    assert_eq!(told(&*engine, &mut watches).await, expected);
}
