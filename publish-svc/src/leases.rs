//! Ends the streams whose leases end: those that the registry says have ended, those that the keeper has lost, and those that
//! ended while nobody watched.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use media::StreamKey;
use registry::{Engine, Lease, LeaseId, LostLease, WatchEvent};
use tokio::sync::mpsc;

use crate::control::Control;

/// How soon a watch of the registry is begun again.
const REWATCH: Duration = Duration::from_secs(1);

/// Follows the registry for ever. With it gone streams go on; the watch is begun again until it is back.
pub(crate) async fn follow(
    engine: Arc<dyn Engine>,
    node_id: String,
    control: Control,
    mut lost: mpsc::Receiver<LostLease>,
) {
    loop {
        if let Ok(mut watch) = engine.watch().await {
            let mut seen = Seen::default();
            loop {
                tokio::select! {
                    event = watch.next() => match event {
                        Some(Ok(event)) => {
                            let held = || control.leases();
                            if let Some(ended) = seen.handle(&node_id, event, held, now()) {
                                control.lease_ended(&ended.stream_key, &ended.id).await;
                            }
                        }
                        Some(Err(_)) | None => break,
                    },
                    Some(lost) = lost.recv() => {
                        control.lease_ended(&lost.stream_key, &lost.id).await;
                    }
                    () = until(seen.deadline()) => {
                        for (key, lease) in seen.handle_timeout() {
                            control.lease_ended(&key, &lease).await;
                        }
                    }
                }
            }
        }
        tokio::time::sleep(REWATCH).await;
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// What one watch has told of the node's leases.
///
/// A lease that the node serves and that the snapshot has not may have ended before the watch began; or the registry has come back
/// empty, and the lease's owner has not re-asserted it yet. So it is waited for as long as the lease lives without a renewal.
#[derive(Default)]
struct Seen {
    leases: HashSet<LeaseId>,
    missing: Vec<(StreamKey, LeaseId)>,
    deadline: Option<Instant>,
}

impl Seen {
    /// Takes an event; a lease that has ended. `held` gives the leases that the node serves.
    fn handle(
        &mut self,
        node_id: &str,
        event: WatchEvent,
        held: impl FnOnce() -> Vec<Lease>,
        now: Instant,
    ) -> Option<Lease> {
        match event {
            WatchEvent::LeaseAdded(lease) | WatchEvent::LeaseChanged(lease) => {
                self.leases.insert(lease.id);
            }
            WatchEvent::LeaseRemoved { lease, .. } => {
                self.leases.remove(&lease.id);
                return Some(lease).filter(|lease| lease.node_id == node_id);
            }
            WatchEvent::SnapshotEnd => {
                let missing = held().into_iter().filter(|lease| !self.leases.contains(&lease.id));
                let missing: Vec<_> = missing.collect();
                let wait = missing.iter().map(|lease| lease.ttl).max();
                self.deadline = wait.map(|wait| now + wait);
                self.missing = missing.into_iter().map(|l| (l.stream_key, l.id)).collect();
            }
            WatchEvent::NodeAdded(_)
            | WatchEvent::NodeChanged(_)
            | WatchEvent::NodeRemoved { .. } => {}
        }
        None
    }

    /// When [`Self::handle_timeout`] has to be called.
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The leases that were missing and still are.
    fn handle_timeout(&mut self) -> Vec<(StreamKey, LeaseId)> {
        self.deadline = None;
        let mut missing = std::mem::take(&mut self.missing);
        missing.retain(|(_, lease)| !self.leases.contains(lease));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn lease(id: &str, node_id: &str) -> Lease {
        Lease {
            id: LeaseId(id.to_owned()),
            stream_key: StreamKey::parse(id).unwrap(),
            node_id: node_id.to_owned(),
            rtp_port: 5004,
            epoch: 1,
            owner_id: "ingest".to_owned(),
            ttl: TTL,
        }
    }

    #[test]
    fn a_lease_that_ended_while_nobody_watched_is_found_missing_after_its_ttl() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let held = || ["a", "b", "c"].map(|id| lease(id, "here")).to_vec();
        seen.handle("here", WatchEvent::LeaseAdded(lease("a", "here")), Vec::new, now);
        assert!(seen.handle("here", WatchEvent::SnapshotEnd, held, now).is_none());
        assert_eq!(seen.deadline(), Some(now + TTL));
        // Its owner re-asserts it meanwhile.
        seen.handle("here", WatchEvent::LeaseAdded(lease("b", "here")), Vec::new, now);
        let ended = seen.handle_timeout();
        assert_eq!(ended, [(StreamKey::parse("c").unwrap(), LeaseId("c".to_owned()))]);
        assert_eq!((seen.deadline(), seen.handle_timeout()), (None, vec![]));
    }

    #[test]
    fn nothing_is_waited_for_where_the_registry_knows_all_leases() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        seen.handle("here", WatchEvent::LeaseAdded(lease("a", "here")), Vec::new, now);
        seen.handle("here", WatchEvent::SnapshotEnd, || vec![lease("a", "here")], now);
        assert_eq!(seen.deadline(), None);
    }

    #[test]
    fn only_the_nodes_own_leases_end_its_streams() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for (node, ends) in [("here", true), ("there", false)] {
            let event = WatchEvent::LeaseRemoved { lease: lease("a", node), expired: true };
            assert_eq!(seen.handle("here", event, Vec::new, now).is_some(), ends);
        }
    }
}
