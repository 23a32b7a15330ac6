//! The lease book as a pure state machine: calls and an `Instant` go in, answers come out at once, and
//! what changed is taken by [`Book::take_events`]. It owns no clock, task or lock.
//!
//! **Nodes and leases** each live one TTL from their last renewal. A lease outlives a node that expired, up to its
//! own TTL, so that a node that was only out of reach finds its ports as they were; its owner, however, is told at the
//! next renewal that the lease is lost, so that it can make the leg elsewhere. A node that takes itself out
//! takes its leases with it at once.
//!
//! **Ports**: the lowest even port of the node's range that no lease has and that is not set aside. A port that
//! is released may be granted again at once: the node binds before it answers, tells the streams on a port apart
//! by source and SSRC, and rejects a port that it cannot bind yet.
//!
//! **Epochs** come from one counter for all streams. It begins at the wall clock's seconds, so that a book that starts
//! again, empty, goes on above all that it granted before, as long as it grants less than one epoch a second on average;
//! re-asserted leases raise it, too.
//!
//! **Re-asserting** puts a lease back that the book does not know (any more), unless a newer epoch of the stream is
//! or was there. It supersedes a claim of an older epoch: after a restart, an owner that was replaced before may come first.
//!
//! A claim is alive as long as one of its leases is.

mod leases;
mod nodes;
mod reassert;

#[cfg(feature = "etcd")]
pub(crate) use self::{
    nodes::in_range,
    reassert::{Standing, StandingClaim, fenced},
};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant, SystemTime},
};

use media::StreamKey;

use crate::{
    Grant, Lease, LeaseId, MemoryConfig, Node, NodeInfo, RegistryError, StreamOwner, WatchEvent,
};

/// Nodes in a book. Each is a process; a thousand is a cluster beyond what one registry should serve.
pub(crate) const MAX_NODES: usize = 1024;
/// Leases in a book. ListLeases and RenewLeases then stay under 16 MiB even if all ids are of the longest.
pub(crate) const MAX_LEASES: usize = 16_384;
/// Streams whose last epoch is remembered after their claim has ended. Of those forgotten the highest epoch is
/// kept, which stands for all.
const MAX_ENDED: usize = 16_384;
/// How far a re-asserted epoch may be ahead of the counter. It begins at seconds: clocks that are half a year apart
/// would still do; wild values cannot use the epochs up, however many.
pub(crate) const MAX_EPOCH_AHEAD: u64 = 1 << 24;

/// Who has what until when.
pub(crate) struct Book {
    config: MemoryConfig,
    /// Prefix of lease ids, so that those of different runs differ.
    run: u64,
    leases_granted: u64,
    last_epoch: u64,
    nodes: BTreeMap<String, NodeEntry>,
    leases: HashMap<LeaseId, LeaseEntry>,
    claims: BTreeMap<StreamKey, ClaimEntry>,
    /// The lease on each port, by node; also of nodes that are gone.
    ports_by_node: BTreeMap<String, BTreeMap<u16, LeaseId>>,
    ended: Ended,
    deadlines: BTreeSet<(Instant, Expiring)>,
    events: Vec<WatchEvent>,
}

struct NodeEntry {
    info: NodeInfo,
    registered_at: SystemTime,
    expires: Instant,
    /// Until when a rejected port is set aside.
    resting: BTreeMap<u16, Instant>,
}

struct LeaseEntry {
    lease: Lease,
    /// Where the node received RTP when the lease was granted.
    rtp_address: std::net::IpAddr,
    expires: Instant,
}

struct ClaimEntry {
    owner_id: String,
    owner_grpc_url: String,
    epoch: u64,
    /// Never empty between calls.
    leases_by_node: BTreeMap<String, LeaseId>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Expiring {
    Node(String),
    Lease(LeaseId),
}

/// Why a lease ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Released,
    Expired,
}

/// The last epochs of streams that nobody has.
#[derive(Default)]
struct Ended {
    epochs: HashMap<StreamKey, u64>,
    by_epoch: BTreeMap<u64, StreamKey>,
    forgotten: u64,
}

impl Ended {
    /// The highest epoch that `key` may have had.
    fn epoch(&self, key: &StreamKey) -> u64 {
        self.epochs.get(key).copied().unwrap_or(self.forgotten)
    }

    fn remember(&mut self, key: &StreamKey, epoch: u64) {
        if self.epoch(key) >= epoch {
            return;
        }
        if let Some(old) = self.epochs.insert(key.clone(), epoch)
            && self.by_epoch.get(&old) == Some(key)
        {
            self.by_epoch.remove(&old);
        }
        // Two streams have one epoch only if a caller made one up; the one that loses its place is forgotten.
        if let Some(other) = self.by_epoch.insert(epoch, key.clone())
            && other != *key
        {
            self.epochs.remove(&other);
            self.forgotten = self.forgotten.max(epoch);
        }
        if self.epochs.len() > MAX_ENDED
            && let Some((oldest, key)) = self.by_epoch.pop_first()
        {
            self.epochs.remove(&key);
            self.forgotten = self.forgotten.max(oldest);
        }
    }
}

impl Book {
    /// An empty book. `run` tells its lease ids from those of other runs; epochs begin above `last_epoch`.
    pub(crate) fn new(config: MemoryConfig, run: u64, last_epoch: u64) -> Self {
        Self {
            config,
            run,
            leases_granted: 0,
            last_epoch,
            nodes: BTreeMap::new(),
            leases: HashMap::new(),
            claims: BTreeMap::new(),
            ports_by_node: BTreeMap::new(),
            ended: Ended::default(),
            deadlines: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// How long nodes and leases live without a renewal.
    pub(crate) fn ttl(&self) -> Duration {
        self.config.ttl
    }

    /// Ends what nobody renewed. To be called before each of the other calls.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.deadlines.first()
            && *at <= now
        {
            match self.deadlines.pop_first() {
                Some((_, Expiring::Node(id))) => {
                    if let Some(entry) = self.nodes.remove(&id) {
                        let node = self.view(&entry);
                        self.events.push(WatchEvent::NodeRemoved { node, expired: true });
                    }
                }
                Some((_, Expiring::Lease(id))) => self.end_lease(&id, End::Expired),
                None => break,
            }
        }
    }

    /// What changed since this was last asked.
    pub(crate) fn take_events(&mut self) -> Vec<WatchEvent> {
        std::mem::take(&mut self.events)
    }

    /// All nodes, in the order of their ids.
    pub(crate) fn list_nodes(&self) -> Vec<Node> {
        self.nodes.values().map(|entry| self.view(entry)).collect()
    }

    /// All leases, in the order of stream key and node id.
    pub(crate) fn list_leases(&self) -> Vec<Lease> {
        let ids = self.claims.values().flat_map(|claim| claim.leases_by_node.values());
        ids.filter_map(|id| self.leases.get(id)).map(|entry| entry.lease.clone()).collect()
    }

    /// Who has a stream.
    pub(crate) fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        let unknown = || RegistryError::UnknownStream(key.clone());
        let claim = self.claims.get(key).ok_or_else(unknown)?;
        let leases = claim.leases_by_node.values().filter_map(|id| self.leases.get(id));
        let nodes = claim.leases_by_node.keys().filter_map(|id| self.nodes.get(id));
        Ok(StreamOwner {
            owner_id: claim.owner_id.clone(),
            owner_grpc_url: claim.owner_grpc_url.clone(),
            epoch: claim.epoch,
            leases: leases.map(|entry| entry.lease.clone()).collect(),
            nodes: nodes.map(|entry| self.view(entry)).collect(),
        })
    }

    fn load(&self, node_id: &str) -> usize {
        self.ports_by_node.get(node_id).map_or(0, BTreeMap::len)
    }

    fn view(&self, entry: &NodeEntry) -> Node {
        Node {
            info: entry.info.clone(),
            // A range has 32,767 pairs at most.
            leases: u32::try_from(self.load(&entry.info.id)).unwrap_or(u32::MAX),
            registered_at: entry.registered_at,
        }
    }

    fn grant(&self, lease: &LeaseId) -> Option<Grant> {
        let lease = &self.leases.get(lease)?.lease;
        let node = self.view(self.nodes.get(&lease.node_id)?);
        Some(Grant { lease: lease.clone(), node })
    }

    /// Puts a lease into all indexes. Its port is free and its claim exists.
    fn add_lease(&mut self, lease: Lease, rtp_address: std::net::IpAddr, now: Instant) {
        let expires = now + self.config.ttl;
        if let Some(claim) = self.claims.get_mut(&lease.stream_key) {
            claim.leases_by_node.insert(lease.node_id.clone(), lease.id.clone());
        }
        let ports = self.ports_by_node.entry(lease.node_id.clone()).or_default();
        ports.insert(lease.rtp_port, lease.id.clone());
        self.deadlines.insert((expires, Expiring::Lease(lease.id.clone())));
        self.events.push(WatchEvent::LeaseAdded(lease.clone()));
        self.leases.insert(lease.id.clone(), LeaseEntry { lease, rtp_address, expires });
    }

    fn renew_lease(&mut self, id: &LeaseId, now: Instant) {
        let Some(entry) = self.leases.get_mut(id) else { return };
        self.deadlines.remove(&(entry.expires, Expiring::Lease(id.clone())));
        entry.expires = now + self.config.ttl;
        self.deadlines.insert((entry.expires, Expiring::Lease(id.clone())));
    }

    /// Takes a lease out of all indexes, and its claim with the last one.
    fn end_lease(&mut self, id: &LeaseId, end: End) {
        let Some(LeaseEntry { lease, expires, .. }) = self.leases.remove(id) else { return };
        self.deadlines.remove(&(expires, Expiring::Lease(id.clone())));
        self.free_port(&lease.node_id, lease.rtp_port);
        if let Some(claim) = self.claims.get_mut(&lease.stream_key) {
            claim.leases_by_node.remove(&lease.node_id);
            if claim.leases_by_node.is_empty() {
                self.ended.remember(&lease.stream_key, claim.epoch);
                self.claims.remove(&lease.stream_key);
            }
        }
        self.events.push(WatchEvent::LeaseRemoved { lease, expired: end == End::Expired });
    }

    fn free_port(&mut self, node_id: &str, port: u16) {
        if let Some(ports) = self.ports_by_node.get_mut(node_id) {
            ports.remove(&port);
            if ports.is_empty() {
                self.ports_by_node.remove(node_id);
            }
        }
    }
}

#[cfg(test)]
mod schedule;
#[cfg(test)]
mod tests;
