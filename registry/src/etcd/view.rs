//! What stands in etcd, as this engine's watch has told it: read by every call, changed by nothing but the watch.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    time::{Duration, SystemTime},
};

use media::StreamKey;

use super::{
    keys::{Key, LegPlace, SessionId},
    records::{ClaimRecord, EpochRecord, LegRecord, NodeRecord, PortRecord, SessionRecord, decode},
};
use crate::{Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, StreamOwner, WatchEvent};

/// A key and what it has become.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub key: Key,
    /// `None`: it was deleted.
    pub put: Option<Put>,
}

/// A value as etcd has it.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub value: Vec<u8>,
    /// The etcd lease that it hangs on; 0: none.
    pub lease: i64,
    pub create_revision: i64,
    pub mod_revision: i64,
}

/// A process and its etcd lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// The engine that renews it.
    pub home: String,
    /// Its etcd lease.
    pub lease: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NodeEntry {
    pub info: NodeInfo,
    pub registered_at: SystemTime,
    pub mod_revision: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClaimEntry {
    pub owner_id: String,
    pub owner_grpc_url: String,
    /// As it is written.
    pub epoch_record: EpochRecord,
    pub epoch: u64,
    pub mod_revision: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LegEntry {
    pub lease: Lease,
    pub rtp_address: IpAddr,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PortEntry {
    pub holder: PortRecord,
    pub mod_revision: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct EpochBase {
    pub value: u64,
    pub mod_revision: i64,
}

/// The book as it stands in etcd at one revision.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The TTL that leases are told to have.
    ttl: Duration,
    /// The last revision that it has all changes of.
    pub revision: i64,
    pub epoch_base: Option<EpochBase>,
    pub sessions: HashMap<SessionId, Session>,
    pub nodes: BTreeMap<String, NodeEntry>,
    pub claims: BTreeMap<StreamKey, ClaimEntry>,
    pub legs: BTreeMap<LegPlace, LegEntry>,
    pub places: HashMap<LeaseId, LegPlace>,
    pub ports: BTreeMap<String, BTreeMap<u16, PortEntry>>,
    pub fences: HashMap<StreamKey, u64>,
}

impl View {
    /// Nothing.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            revision: 0,
            epoch_base: None,
            sessions: HashMap::new(),
            nodes: BTreeMap::new(),
            claims: BTreeMap::new(),
            legs: BTreeMap::new(),
            places: HashMap::new(),
            ports: BTreeMap::new(),
            fences: HashMap::new(),
        }
    }

    /// Takes in all changes of one revision; what watchers are told of it. Claims are read before the legs that are
    /// theirs; deletions come last, so that a lease that moves to another node is seen to move.
    pub(super) fn apply(&mut self, revision: i64, changes: Vec<Change>) -> Vec<WatchEvent> {
        self.revision = self.revision.max(revision);
        let mut events = Vec::new();
        let touched: HashSet<_> = changes.iter().filter_map(session_of).cloned().collect();
        for pass in [Pass::Claims, Pass::Places, Pass::Deletions] {
            for change in changes.iter().filter(|change| pass == Pass::of(change)) {
                match &change.put {
                    Some(put) => self.put(&change.key, put, &mut events),
                    None => self.delete(&change.key, &touched, &mut events),
                }
            }
        }
        events
    }

    fn put(&mut self, key: &Key, put: &Put, events: &mut Vec<WatchEvent>) {
        let known = match key {
            Key::EpochBase => decode(&put.value).map(|value| {
                self.epoch_base = Some(EpochBase { value, mod_revision: put.mod_revision });
            }),
            Key::Session(id) => decode(&put.value).map(|SessionRecord { home }| {
                self.sessions.insert(id.clone(), Session { home, lease: put.lease });
            }),
            Key::Stream(key) => self.put_claim(key, put),
            Key::Fence(key) => decode(&put.value).map(|record: EpochRecord| {
                self.fences.insert(key.clone(), record.epoch(put.mod_revision));
            }),
            Key::Node(id) => self.put_node(id, put, events),
            Key::Port(node_id, port) => decode(&put.value).map(|holder| {
                let entry = PortEntry { holder, mod_revision: put.mod_revision };
                self.ports.entry(node_id.clone()).or_default().insert(*port, entry);
            }),
            Key::Leg(place) => self.put_leg(place, put, events),
            Key::Mark(_) => Some(()),
        };
        if known.is_none() {
            tracing::warn!(?key, "what stands in etcd cannot be read; it is passed over");
        }
    }

    fn put_claim(&mut self, key: &StreamKey, put: &Put) -> Option<()> {
        let record: ClaimRecord = decode(&put.value)?;
        let entry = ClaimEntry {
            epoch: record.epoch.epoch(put.create_revision),
            owner_id: record.owner_id,
            owner_grpc_url: record.owner_grpc_url,
            epoch_record: record.epoch,
            mod_revision: put.mod_revision,
        };
        self.claims.insert(key.clone(), entry);
        Some(())
    }

    fn put_node(&mut self, id: &str, put: &Put, events: &mut Vec<WatchEvent>) -> Option<()> {
        let record: NodeRecord = decode(&put.value)?;
        let entry = NodeEntry {
            info: record.info(id.to_owned()),
            registered_at: record.registered_at(),
            mod_revision: put.mod_revision,
        };
        let node = self.node(&entry);
        match self.nodes.insert(id.to_owned(), entry) {
            Some(old) if old.info == node.info => {}
            Some(_) => events.push(WatchEvent::NodeChanged(node)),
            None => events.push(WatchEvent::NodeAdded(node)),
        }
        Some(())
    }

    fn put_leg(&mut self, place: &LegPlace, put: &Put, events: &mut Vec<WatchEvent>) -> Option<()> {
        let record: LegRecord = decode(&put.value)?;
        let claim = self.claims.get(&place.stream_key)?;
        let lease = Lease {
            id: LeaseId(record.lease_id),
            stream_key: place.stream_key.clone(),
            node_id: place.node_id.clone(),
            rtp_port: record.rtp_port,
            epoch: claim.epoch,
            owner_id: claim.owner_id.clone(),
            ttl: self.ttl,
        };
        let moved = self.places.insert(lease.id.clone(), place.clone());
        let entry = LegEntry { lease: lease.clone(), rtp_address: record.rtp_address };
        let replaced = self.legs.insert(place.clone(), entry);
        if let Some(other) = replaced.as_ref().filter(|old| old.lease.id != lease.id) {
            self.places.remove(&other.lease.id);
            let lease = other.lease.clone();
            events.push(WatchEvent::LeaseRemoved { lease, expired: false });
        }
        match (moved, replaced) {
            (None, _) => events.push(WatchEvent::LeaseAdded(lease)),
            (Some(old), Some(entry)) if old == *place && entry.lease == lease => {}
            (Some(_), _) => events.push(WatchEvent::LeaseChanged(lease)),
        }
        Some(())
    }

    fn delete(&mut self, key: &Key, touched: &HashSet<SessionId>, events: &mut Vec<WatchEvent>) {
        match key {
            Key::EpochBase => self.epoch_base = None,
            Key::Session(id) => drop(self.sessions.remove(id)),
            Key::Stream(key) => drop(self.claims.remove(key)),
            Key::Fence(key) => drop(self.fences.remove(key)),
            Key::Mark(_) => {}
            Key::Node(id) => {
                if let Some(entry) = self.nodes.remove(id) {
                    let expired = touched.contains(&SessionId::Node(id.clone()));
                    events.push(WatchEvent::NodeRemoved { node: self.node(&entry), expired });
                }
            }
            Key::Port(node_id, port) => {
                if let Some(ports) = self.ports.get_mut(node_id) {
                    ports.remove(port);
                    if ports.is_empty() {
                        self.ports.remove(node_id);
                    }
                }
            }
            Key::Leg(place) => self.delete_leg(place, touched, events),
        }
    }

    fn delete_leg(
        &mut self,
        place: &LegPlace,
        touched: &HashSet<SessionId>,
        events: &mut Vec<WatchEvent>,
    ) {
        let Some(LegEntry { lease, .. }) = self.legs.remove(place) else { return };
        // Where it moved to another node in this very revision it is not removed.
        if self.places.get(&lease.id) == Some(place) {
            self.places.remove(&lease.id);
            let expired = touched.contains(&SessionId::Owner(lease.owner_id.clone()));
            events.push(WatchEvent::LeaseRemoved { lease, expired });
        }
    }

    /// What changed from `old` to this, for watchers that have not been told of what lies between.
    pub(super) fn changes_since(&self, old: &Self) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        let new_lease = |id| self.places.get(id).and_then(|place| self.legs.get(place));
        for LegEntry { lease, .. } in old.legs.values() {
            if new_lease(&lease.id).is_none() {
                events.push(WatchEvent::LeaseRemoved { lease: lease.clone(), expired: true });
            }
        }
        for (id, entry) in &old.nodes {
            if !self.nodes.contains_key(id) {
                let node = old.node(entry);
                events.push(WatchEvent::NodeRemoved { node, expired: true });
            }
        }
        for (id, entry) in &self.nodes {
            match old.nodes.get(id) {
                None => events.push(WatchEvent::NodeAdded(self.node(entry))),
                Some(before) if before.info != entry.info => {
                    events.push(WatchEvent::NodeChanged(self.node(entry)));
                }
                Some(_) => {}
            }
        }
        for LegEntry { lease, .. } in self.legs.values() {
            let before = old.places.get(&lease.id).and_then(|place| old.legs.get(place));
            match before {
                None => events.push(WatchEvent::LeaseAdded(lease.clone())),
                Some(before) if before.lease != *lease => {
                    events.push(WatchEvent::LeaseChanged(lease.clone()));
                }
                Some(_) => {}
            }
        }
        events
    }

    /// Legs on a node.
    pub(super) fn load(&self, node_id: &str) -> usize {
        let ports = self.ports.get(node_id).into_iter().flatten();
        ports.filter(|(_, entry)| matches!(entry.holder, PortRecord::Lease(_))).count()
    }

    fn node(&self, entry: &NodeEntry) -> Node {
        Node {
            info: entry.info.clone(),
            leases: u32::try_from(self.load(&entry.info.id)).unwrap_or(u32::MAX),
            registered_at: entry.registered_at,
        }
    }

    /// A lease that is there.
    pub(super) fn lease(&self, id: &LeaseId) -> Option<&LegEntry> {
        self.legs.get(self.places.get(id)?)
    }

    /// A lease and its node, if both are there.
    pub(super) fn grant(&self, id: &LeaseId) -> Option<Grant> {
        let lease = self.lease(id)?.lease.clone();
        let node = self.node(self.nodes.get(&lease.node_id)?);
        Some(Grant { lease, node })
    }

    /// The legs of a stream, in the order of their nodes.
    pub(super) fn legs_of(&self, key: &StreamKey) -> impl Iterator<Item = &LegEntry> {
        let first = LegPlace { stream_key: key.clone(), node_id: String::new() };
        let legs = self.legs.range(first..).take_while(|(place, _)| place.stream_key == *key);
        legs.map(|(_, leg)| leg)
    }

    /// The legs on a node.
    pub(super) fn legs_on(&self, node_id: &str) -> Vec<&LegEntry> {
        self.legs.values().filter(|leg| leg.lease.node_id == node_id).collect()
    }

    /// Who has a stream.
    pub(super) fn lookup(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        let unknown = || RegistryError::UnknownStream(key.clone());
        let claim = self.claims.get(key).ok_or_else(unknown)?;
        let leases: Vec<_> = self.legs_of(key).map(|leg| leg.lease.clone()).collect();
        let nodes = leases.iter().filter_map(|lease| self.nodes.get(&lease.node_id));
        Ok(StreamOwner {
            owner_id: claim.owner_id.clone(),
            owner_grpc_url: claim.owner_grpc_url.clone(),
            epoch: claim.epoch,
            nodes: nodes.map(|entry| self.node(entry)).collect(),
            leases,
        })
    }

    /// All nodes, in the order of their ids.
    pub(super) fn list_nodes(&self) -> Vec<Node> {
        self.nodes.values().map(|entry| self.node(entry)).collect()
    }

    /// All leases, in the order of stream key and node id.
    pub(super) fn list_leases(&self) -> Vec<Lease> {
        self.legs.values().map(|leg| leg.lease.clone()).collect()
    }

    /// The revision of the last change of a key; `None` where it is not there, and for keys whose changes nobody compares.
    pub(super) fn mod_revision(&self, key: &Key) -> Option<i64> {
        match key {
            Key::EpochBase => self.epoch_base.as_ref().map(|base| base.mod_revision),
            Key::Node(id) => self.nodes.get(id).map(|node| node.mod_revision),
            Key::Stream(key) => self.claims.get(key).map(|claim| claim.mod_revision),
            Key::Port(node_id, port) => {
                self.ports.get(node_id)?.get(port).map(|entry| entry.mod_revision)
            }
            Key::Session(_) | Key::Leg(_) | Key::Fence(_) | Key::Mark(_) => None,
        }
    }
}

/// In which order the changes of one revision are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Claims,
    Places,
    Deletions,
}

impl Pass {
    fn of(change: &Change) -> Self {
        match (&change.put, &change.key) {
            (None, _) => Self::Deletions,
            (Some(_), Key::Node(_) | Key::Port(..) | Key::Leg(_)) => Self::Places,
            (
                Some(_),
                Key::EpochBase | Key::Session(_) | Key::Stream(_) | Key::Fence(_) | Key::Mark(_),
            ) => Self::Claims,
        }
    }
}

fn session_of(change: &Change) -> Option<&SessionId> {
    match &change.key {
        Key::Session(id) => Some(id),
        _ => None,
    }
}
