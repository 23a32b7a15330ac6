//! What concerns this engine alone: its lock, its expiry task, its caps.

use std::collections::BTreeSet;

use futures_util::{StreamExt, future::join_all};

use super::*;
use crate::{
    changes::{MAX_WATCHERS, WATCH_BACKLOG},
    conformance::{claim, node},
};

const TTL: Duration = Duration::from_secs(10);

fn engine() -> Arc<MemoryEngine> {
    MemoryEngine::new(MemoryConfig { ttl: TTL, ..MemoryConfig::default() })
}

/// Paused time would not stop for a runtime of many threads; no lease lives for a TTL here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_at_once_are_granted_ports_of_their_own() {
    let engine = engine();
    engine.register_node(node("n", 10_000, 12_999)).await.unwrap();
    let calls = (0..1500).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let grant = engine.allocate_port(claim(&format!("s{n}"), "i")).await.unwrap();
            (grant.lease.rtp_port, grant.lease.epoch)
        })
    });
    let granted: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let ports: BTreeSet<_> = granted.iter().map(|(port, _)| *port).collect();
    let epochs: BTreeSet<_> = granted.iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(ports, (10_000..13_000).step_by(2).collect());
    assert_eq!(epochs.len(), 1500);
}

#[tokio::test(start_paused = true)]
async fn watchers_are_told_what_expired_though_nobody_calls() {
    let engine = engine();
    let mut watch = engine.watch().await.unwrap();
    assert_eq!(watch.next().await, Some(Ok(WatchEvent::SnapshotEnd)));
    engine.register_node(node("n", 6000, 6009)).await.unwrap();
    engine.allocate_port(claim("a", "i")).await.unwrap();
    let from = tokio::time::Instant::now();
    let (mut node_expired, mut lease_expired) = (false, false);
    while !(node_expired && lease_expired) {
        match watch.next().await.unwrap().unwrap() {
            WatchEvent::NodeRemoved { expired, .. } => node_expired = expired,
            WatchEvent::LeaseRemoved { expired, .. } => lease_expired = expired,
            _added => {}
        }
    }
    let after = from.elapsed();
    assert!(after >= TTL && after <= TTL + EXPIRY_TICK, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_too_slow_is_ended_with_a_word() {
    let engine = engine();
    let mut slow = engine.watch().await.unwrap();
    engine.register_node(node("n", 6000, 6009)).await.unwrap();
    let mut lease = None;
    for _ in 0..WATCH_BACKLOG / 2 + 1 {
        if let Some(lease) = lease {
            engine.release_port(&lease).await.unwrap();
        }
        lease = Some(engine.allocate_port(claim("a", "i")).await.unwrap().lease.id);
    }
    assert_eq!(slow.next().await, Some(Ok(WatchEvent::SnapshotEnd)));
    let word = slow.next().await;
    assert!(matches!(word, Some(Err(RegistryError::Full(_)))), "{word:?}");
    assert_eq!(slow.next().await, None);
    // Watching anew tells all.
    let mut anew = engine.watch().await.unwrap();
    assert!(matches!(anew.next().await, Some(Ok(WatchEvent::NodeAdded(_)))));
    assert!(matches!(anew.next().await, Some(Ok(WatchEvent::LeaseAdded(_)))));
    assert_eq!(anew.next().await, Some(Ok(WatchEvent::SnapshotEnd)));
}

#[tokio::test(start_paused = true)]
async fn more_watchers_than_the_cap_are_refused_until_one_goes() {
    let engine = engine();
    let mut watches = Vec::new();
    for _ in 0..MAX_WATCHERS {
        watches.push(engine.watch().await.unwrap());
    }
    assert!(matches!(engine.watch().await, Err(RegistryError::Full(_))));
    watches.pop();
    watches.push(engine.watch().await.unwrap());
    assert!(matches!(engine.watch().await, Err(RegistryError::Full(_))));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_dropped_ends_its_watches_and_its_task() {
    let engine = engine();
    let mut watch = engine.watch().await.unwrap();
    let (expiry, weak) = (engine.expiry.clone(), Arc::downgrade(&engine));
    drop(engine);
    assert!(weak.upgrade().is_none());
    assert_eq!(watch.next().await, Some(Ok(WatchEvent::SnapshotEnd)));
    assert_eq!(watch.next().await, None);
    // At once, not with its next tick.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(expiry.is_finished());
}
