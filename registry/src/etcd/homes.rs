//! Until when what this engine is the home of lives without a renewal.
//!
//! A process hangs on one etcd lease, but each of its leases has a deadline of its own, which one engine, the process's
//! home, keeps: whoever was last asked to renew it. The etcd lease, a little longer, ends all of it where the home dies as well.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{keys::SessionId, view::View};
use crate::{LeaseId, WatchEvent};

/// What is to end since nobody renewed it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    Node(String),
    Lease(LeaseId),
}

/// Deadlines of what has its home here.
#[derive(Default)]
pub(super) struct Homes {
    /// When each process's etcd lease was last renewed from here.
    kept: HashMap<SessionId, Instant>,
    nodes: HashMap<String, Instant>,
    leases: HashMap<LeaseId, Instant>,
}

impl Homes {
    /// Follows what the watch told: what is new here has one TTL.
    pub(super) fn follow(&mut self, view: &View, home: &str, deadline: Instant) {
        let here = |id: &SessionId| view.sessions.get(id).is_some_and(|s| s.home == home);
        self.kept.retain(|id, _| here(id));
        self.nodes.retain(|id, _| here(&SessionId::Node(id.clone())));
        self.leases.retain(|id, _| {
            view.lease(id).is_some_and(|leg| here(&SessionId::Owner(leg.lease.owner_id.clone())))
        });
        for id in view.nodes.keys().filter(|id| here(&SessionId::Node((*id).clone()))) {
            self.nodes.entry(id.clone()).or_insert(deadline);
        }
        for leg in view.legs.values() {
            if here(&SessionId::Owner(leg.lease.owner_id.clone())) {
                self.leases.entry(leg.lease.id.clone()).or_insert(deadline);
            }
        }
    }

    /// As [`Homes::follow`], where no process changed its home: without a look at all of them.
    pub(super) fn follow_events(
        &mut self,
        view: &View,
        home: &str,
        events: &[WatchEvent],
        deadline: Instant,
    ) {
        let here = |id: SessionId| view.sessions.get(&id).is_some_and(|s| s.home == home);
        for event in events {
            match event {
                WatchEvent::NodeAdded(node) if here(SessionId::Node(node.info.id.clone())) => {
                    self.nodes.entry(node.info.id.clone()).or_insert(deadline);
                }
                WatchEvent::LeaseAdded(lease) if here(SessionId::Owner(lease.owner_id.clone())) => {
                    self.leases.entry(lease.id.clone()).or_insert(deadline);
                }
                WatchEvent::NodeRemoved { node, .. } => {
                    self.nodes.remove(&node.info.id);
                }
                WatchEvent::LeaseRemoved { lease, .. } => {
                    self.leases.remove(&lease.id);
                }
                WatchEvent::NodeAdded(_)
                | WatchEvent::LeaseAdded(_)
                | WatchEvent::NodeChanged(_)
                | WatchEvent::LeaseChanged(_)
                | WatchEvent::SnapshotEnd => {}
            }
        }
    }

    /// A node was renewed.
    pub(super) fn renew_node(&mut self, id: &str, deadline: Instant) {
        self.nodes.insert(id.to_owned(), deadline);
    }

    /// A lease was renewed.
    pub(super) fn renew_lease(&mut self, id: &LeaseId, deadline: Instant) {
        self.leases.insert(id.clone(), deadline);
    }

    /// The etcd lease of a process was renewed.
    pub(super) fn keep(&mut self, id: &SessionId, now: Instant) {
        self.kept.insert(id.clone(), now);
    }

    /// Whether the etcd lease of a process was renewed within `age`.
    pub(super) fn is_kept(&self, id: &SessionId, now: Instant, age: Duration) -> bool {
        self.kept.get(id).is_some_and(|kept| now.duration_since(*kept) < age)
    }

    /// All deadlines begin anew: while etcd was gone nobody could renew anything.
    pub(super) fn forgive(&mut self, deadline: Instant) {
        self.nodes.values_mut().chain(self.leases.values_mut()).for_each(|d| *d = deadline);
    }

    /// Whether it still is to end: it may have been renewed, or have another home, by now.
    pub(super) fn is_due(&self, due: &Due, now: Instant) -> bool {
        let deadline = match due {
            Due::Node(id) => self.nodes.get(id),
            Due::Lease(id) => self.leases.get(id),
        };
        deadline.is_some_and(|at| *at <= now)
    }

    /// What is to end now, the earliest first.
    pub(super) fn due(&self, now: Instant) -> Vec<Due> {
        let nodes = self.nodes.iter().map(|(id, at)| (*at, Due::Node(id.clone())));
        let leases = self.leases.iter().map(|(id, at)| (*at, Due::Lease(id.clone())));
        let mut due: Vec<_> = nodes.chain(leases).filter(|(at, _)| *at <= now).collect();
        due.sort();
        due.into_iter().map(|(_, due)| due).collect()
    }
}
