//! Ends the streams whose leases end: those that were released, those that the keeper has lost, and those that expired, or
//! ended while nobody watched, were not put back within their TTL, and have nothing coming any more.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use registry::{Engine, Lease, LeaseId, LostLease, WatchEvent};
use tokio::sync::mpsc;

use crate::control::Control;

/// How soon a watch of the registry is begun again.
const REWATCH: Duration = Duration::from_secs(1);
/// How often it is looked whether the node serves a lease that the registry has never told of, or no longer has.
const LOOK: Duration = Duration::from_secs(5);

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
            let mut look = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    event = watch.next() => match event {
                        Some(Ok(event)) => {
                            if let WatchEvent::LeaseAdded(lease) = &event {
                                control.hear(lease).await;
                            }
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
                    _ = look.tick() => seen.look(control.leases(), now()),
                    () = until(seen.deadline()) => {
                        for lease in seen.handle_timeout(now(), |lease| control.is_live(lease)) {
                            control.lease_ended(&lease.stream_key, &lease.id).await;
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
/// A lease that expired, or that the node serves and the snapshot has not, may have an owner that is alive: a registry that stood
/// still, was cut off or has come back empty could renew nothing, and the owner puts the lease back as soon as it can. So it is waited
/// for as long as a lease lives without a renewal, and, where its packets come, for as long again: the data plane waits for no
/// control plane. One that was released has no owner that would; where a node began it all the same, as an owner had not heard yet
/// that it has ended, it is missing, too.
#[derive(Default)]
struct Seen {
    /// The snapshot is told to its end.
    is_whole: bool,
    leases: HashSet<LeaseId>,
    missing: BTreeMap<LeaseId, (Lease, Instant)>,
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
                self.missing.remove(&lease.id);
                self.leases.insert(lease.id);
            }
            WatchEvent::LeaseRemoved { lease, expired } => {
                self.leases.remove(&lease.id);
                if lease.node_id != node_id {
                    return None;
                }
                if !expired {
                    return Some(lease);
                }
                self.wait_for(lease, now);
            }
            WatchEvent::SnapshotEnd => {
                self.is_whole = true;
                self.look(held(), now);
            }
            WatchEvent::NodeAdded(_)
            | WatchEvent::NodeChanged(_)
            | WatchEvent::NodeRemoved { .. } => {}
        }
        None
    }

    /// Waits for those of the leases that the node serves and the registry has not.
    fn look(&mut self, held: Vec<Lease>, now: Instant) {
        for lease in held {
            let known = self.leases.contains(&lease.id) || self.missing.contains_key(&lease.id);
            if self.is_whole && !known {
                self.wait_for(lease, now);
            }
        }
    }

    fn wait_for(&mut self, lease: Lease, now: Instant) {
        let deadline = now + lease.ttl;
        self.missing.insert(lease.id.clone(), (lease, deadline));
    }

    /// When [`Self::handle_timeout`] has to be called.
    fn deadline(&self) -> Option<Instant> {
        self.missing.values().map(|(_, deadline)| *deadline).min()
    }

    /// The leases that were missing, still are, and of which nothing comes.
    fn handle_timeout(&mut self, now: Instant, is_live: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        let mut ended = Vec::new();
        self.missing.retain(|_, (lease, deadline)| {
            if *deadline > now {
                return true;
            }
            *deadline = now + lease.ttl;
            let live = is_live(lease);
            if !live {
                ended.push(lease.clone());
            }
            live
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use media::StreamKey;

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

    const NOTHING_COMES: fn(&Lease) -> bool = |_| false;

    #[test]
    fn a_lease_that_ended_while_nobody_watched_is_found_missing_after_its_ttl() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let held = || ["a", "b", "c"].map(|id| lease(id, "here")).to_vec();
        seen.handle("here", WatchEvent::LeaseAdded(lease("a", "here")), Vec::new, now);
        assert!(seen.handle("here", WatchEvent::SnapshotEnd, held, now).is_none());
        assert_eq!(seen.deadline(), Some(now + TTL));
        // Its owner re-asserts it meanwhile.
        seen.handle("here", WatchEvent::LeaseAdded(lease("b", "here")), Vec::new, now);
        assert_eq!(seen.handle_timeout(now + TTL / 2, NOTHING_COMES), []);
        assert_eq!(seen.handle_timeout(now + TTL, NOTHING_COMES), [lease("c", "here")]);
        assert_eq!(seen.deadline(), None);
        assert_eq!(seen.handle_timeout(now + TTL, NOTHING_COMES), []);
    }

    #[test]
    fn a_lease_that_expired_ends_its_stream_only_if_its_owner_does_not_put_it_back() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for id in ["a", "b"] {
            let expired = WatchEvent::LeaseRemoved { lease: lease(id, "here"), expired: true };
            assert!(seen.handle("here", expired, Vec::new, now).is_none());
        }
        seen.handle("here", WatchEvent::LeaseAdded(lease("a", "here")), Vec::new, now);
        assert_eq!(seen.deadline(), Some(now + TTL));
        assert_eq!(seen.handle_timeout(now + TTL, NOTHING_COMES), [lease("b", "here")]);
    }

    #[test]
    fn a_lease_that_expired_is_kept_for_as_long_as_its_packets_come() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for id in ["live", "silent"] {
            let expired = WatchEvent::LeaseRemoved { lease: lease(id, "here"), expired: true };
            seen.handle("here", expired, Vec::new, now);
        }
        let is_live = |lease: &Lease| lease.id.0 == "live";
        assert_eq!(seen.handle_timeout(now + TTL, is_live), [lease("silent", "here")]);
        assert_eq!(seen.deadline(), Some(now + TTL * 2));
        assert_eq!(seen.handle_timeout(now + TTL * 2, is_live), []);
        assert_eq!(seen.handle_timeout(now + TTL * 3, NOTHING_COMES), [lease("live", "here")]);
    }

    #[test]
    fn a_lease_that_is_begun_after_it_has_ended_is_found_missing() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let served = || vec![lease("a", "here")];
        seen.look(served(), now);
        assert_eq!(seen.deadline(), None, "not all is told yet");
        seen.handle("here", WatchEvent::SnapshotEnd, Vec::new, now);
        let released = WatchEvent::LeaseRemoved { lease: lease("a", "here"), expired: false };
        assert_eq!(seen.handle("here", released, Vec::new, now), Some(lease("a", "here")));
        seen.look(served(), now);
        seen.look(served(), now + TTL / 2);
        assert_eq!(seen.handle_timeout(now + TTL, NOTHING_COMES), served());
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
        for (node, ends) in [("here", true), ("there", false)] {
            let (mut seen, now) = (Seen::default(), Instant::now());
            let event = WatchEvent::LeaseRemoved { lease: lease("a", node), expired: false };
            assert_eq!(seen.handle("here", event, Vec::new, now).is_some(), ends);
            let event = WatchEvent::LeaseRemoved { lease: lease("a", node), expired: true };
            assert!(seen.handle("here", event, Vec::new, now).is_none());
            assert_eq!(seen.deadline().is_some(), ends);
        }
    }
}
