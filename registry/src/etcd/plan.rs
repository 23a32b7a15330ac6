//! What is to be written for a call, decided on the view. Pure: no etcd, clock or lock.
//!
//! The rules are those of the in-memory book (`crate::book`); `crate::conformance` holds both to them.

mod end;
mod reassert;

use std::{collections::HashSet, net::IpAddr};

use media::StreamKey;

pub(super) use self::end::Rejection;
use super::{
    keys::{Key, LegPlace, SessionId},
    records::{ClaimRecord, EpochRecord, LegRecord, PortRecord, encode},
    view::{ClaimEntry, NodeEntry, View},
    write::{Condition, Write},
};
use crate::{Claim, Lease, LeaseId, RegistryError, book::MAX_LEASES};

/// What a call works on.
pub(super) struct Desk<'a> {
    pub view: &'a View,
    /// Ports that calls of this engine, still under way, are about to take.
    pub reserved: &'a HashSet<(String, u16)>,
    /// The engine's id.
    pub home: &'a str,
    /// In ms since 1970.
    pub now_ms: u64,
    /// Where among the free ports to begin, in pairs; 0 takes the lowest. Engines that collide take others than each other.
    pub first_pair: usize,
}

/// What to do for a claim.
#[derive(Debug)]
pub(super) enum Decision {
    /// Its owner has the lease already, if the stream is as the view has it; or the owner is called elsewhere now, which is written.
    Held(LeaseId, Write),
    /// Another owner has the stream, if it is as the view has it.
    Owned(RegistryError, Write),
    /// End these first, and decide again.
    End(Vec<Lease>),
    /// Write this.
    Grant(Placement),
}

/// A leg to be granted: all but the etcd leases, which take calls to get.
#[derive(Debug)]
pub(super) struct Placement {
    pub lease_id: LeaseId,
    pub node_id: String,
    pub rtp_port: u16,
    rtp_address: IpAddr,
    stream_key: StreamKey,
    claim: ClaimRecord,
    /// The claim is new: its epoch is remembered from now on.
    is_new: bool,
    epoch_base: Option<u64>,
    write: Write,
}

impl Placement {
    /// The transaction, once it is known on what it hangs: the owner's etcd lease, and that of the fences.
    pub(super) fn write(self, session: i64, fences: i64) -> Write {
        let place = LegPlace { stream_key: self.stream_key.clone(), node_id: self.node_id.clone() };
        let leg = LegRecord {
            lease_id: self.lease_id.0.clone(),
            rtp_port: self.rtp_port,
            rtp_address: self.rtp_address,
        };
        let port = PortRecord::Lease(self.lease_id.0);
        let mut write = self
            .write
            .put(Key::Stream(self.stream_key.clone()), encode(&self.claim), session)
            .put(Key::Leg(place), encode(&leg), session)
            .put(Key::Port(self.node_id, self.rtp_port), encode(&port), session);
        if self.is_new {
            write = write.put(Key::Fence(self.stream_key), encode(&self.claim.epoch), fences);
        }
        if let Some(base) = self.epoch_base {
            write = write.put(Key::EpochBase, encode(&base), 0);
        }
        write
    }
}

impl Desk<'_> {
    /// Decides on a claim; `lease_id` names the lease if one is granted anew. Of the nodes `before`, which had the stream until now, the
    /// first that can is to take it, so that its readers go on there.
    pub(super) fn allocate(
        &self,
        claim: &Claim,
        lease_id: LeaseId,
        before: &[String],
    ) -> Result<Decision, RegistryError> {
        if let Some(lease) = &claim.reassert {
            return self.reassert(claim, lease);
        }
        let present = self.view.claims.get(&claim.stream_key);
        if let Some(present) = present {
            if Some(present.epoch) == claim.supersede && present.owner_id != claim.owner_id {
                return Ok(self.end_all(&claim.stream_key));
            }
            if let Some(decided) = self.held(claim, present) {
                return Ok(decided);
            }
        }
        if self.view.legs.len() >= MAX_LEASES {
            return Err(RegistryError::Full(format!("it holds {MAX_LEASES} leases")));
        }
        let (node, rtp_port) = match &claim.node_id {
            Some(node_id) => {
                let unknown = || RegistryError::UnknownNode(node_id.clone());
                let node = self.view.nodes.get(node_id).ok_or_else(unknown)?;
                let why = if node.info.draining { ", which drains" } else { "" };
                let no_port = || RegistryError::NoPort(format!("{node_id}{why}"));
                (node, self.port_for_new(node).ok_or_else(no_port)?)
            }
            None => match before.iter().find_map(|id| {
                let node = self.view.nodes.get(id)?;
                Some((node, self.port_for_new(node)?))
            }) {
                Some(found) => found,
                None => self.least_loaded(&claim.stream_key)?,
            },
        };
        let epoch = match present {
            Some(present) => present.epoch_record,
            None => EpochRecord::Base(self.epoch_base()?),
        };
        Ok(Decision::Grant(self.placement(claim, lease_id, (node, rtp_port), epoch)))
    }

    fn placement(
        &self,
        claim: &Claim,
        lease_id: LeaseId,
        (node, rtp_port): (&NodeEntry, u16),
        epoch: EpochRecord,
    ) -> Placement {
        let stream = Key::Stream(claim.stream_key.clone());
        let is_new = !self.view.claims.contains_key(&claim.stream_key);
        let node_id = node.info.id.clone();
        let write = Write::new()
            .when(self.home(SessionId::Owner(claim.owner_id.clone())))
            .when_as_in(self.view, Key::EpochBase)
            .when_as_in(self.view, Key::Node(node_id.clone()))
            .when_as_in(self.view, Key::Port(node_id.clone(), rtp_port))
            .when_as_in(self.view, stream);
        Placement {
            lease_id,
            rtp_port,
            rtp_address: node.info.rtp_address,
            node_id,
            stream_key: claim.stream_key.clone(),
            claim: ClaimRecord {
                owner_id: claim.owner_id.clone(),
                owner_grpc_url: self.owner_url(claim),
                epoch,
            },
            is_new,
            epoch_base: None,
            write,
        }
    }

    /// Where the owner is called: what it says, or, where it says nothing, what it said.
    fn owner_url(&self, claim: &Claim) -> String {
        match self.view.claims.get(&claim.stream_key) {
            Some(present) if claim.owner_grpc_url.is_empty() => present.owner_grpc_url.clone(),
            Some(_) | None => claim.owner_grpc_url.clone(),
        }
    }

    fn home(&self, id: SessionId) -> Condition {
        Condition::Home(id, self.home.to_owned())
    }

    fn epoch_base(&self) -> Result<u64, RegistryError> {
        let unknown = || RegistryError::Unavailable("etcd has no epochs yet".to_owned());
        Ok(self.view.epoch_base.as_ref().ok_or_else(unknown)?.value)
    }

    /// The lease that the owner has already for what it asks, or that the stream is another's.
    fn held(&self, claim: &Claim, present: &ClaimEntry) -> Option<Decision> {
        if present.owner_id != claim.owner_id {
            let owned = RegistryError::Owned {
                stream_key: claim.stream_key.clone(),
                owner_id: present.owner_id.clone(),
                epoch: present.epoch,
            };
            return Some(Decision::Owned(owned, self.unchanged(&claim.stream_key)));
        }
        let mut legs = self.view.legs_of(&claim.stream_key).filter(|leg| {
            let node = self.view.nodes.get(&leg.lease.node_id);
            node.is_some_and(|node| match &claim.node_id {
                Some(wished) => *wished == node.info.id,
                // Who does not say where wants to be somewhere else than on a node that is about to go.
                None => !node.info.draining,
            })
        });
        let id = legs.next()?.lease.id.clone();
        let url = self.owner_url(claim);
        if url == present.owner_grpc_url {
            return Some(Decision::Held(id, self.unchanged(&claim.stream_key)));
        }
        let moved = ClaimRecord {
            owner_id: claim.owner_id.clone(),
            owner_grpc_url: url,
            epoch: present.epoch_record,
        };
        let write = self.touch_claim(Write::new(), &claim.stream_key, Some(moved));
        Some(Decision::Held(id, write))
    }

    /// Writes nothing: another engine may have changed the stream and the view not show it yet.
    fn unchanged(&self, key: &StreamKey) -> Write {
        Write::new().when_as_in(self.view, Key::Stream(key.clone()))
    }

    /// Writes the claim anew, as it is or as `record`, if it is as it was.
    fn touch_claim(&self, write: Write, key: &StreamKey, record: Option<ClaimRecord>) -> Write {
        let stream = Key::Stream(key.clone());
        let write = write.when_as_in(self.view, stream.clone());
        let Some(claim) = self.view.claims.get(key) else { return write };
        let record = record.unwrap_or_else(|| ClaimRecord {
            owner_id: claim.owner_id.clone(),
            owner_grpc_url: claim.owner_grpc_url.clone(),
            epoch: claim.epoch_record,
        });
        let owner = SessionId::Owner(claim.owner_id.clone());
        // It goes when its session does: then this is not done.
        let lease = self.view.sessions.get(&owner).map_or(0, |session| session.lease);
        write.when(Condition::Alive(owner)).put(stream, encode(&record), lease)
    }

    /// A free port of a node.
    fn free_port_on(&self, node: &NodeEntry) -> Option<u16> {
        let info = &node.info;
        let taken = self.view.ports.get(&info.id);
        let free = |port: &u16| {
            let holder = taken.and_then(|ports| ports.get(port)).map(|entry| &entry.holder);
            let is_free = match holder {
                None => true,
                Some(PortRecord::Lease(_)) => false,
                Some(PortRecord::RestsUntilMs(until)) => *until <= self.now_ms,
            };
            is_free && !self.reserved.contains(&(info.id.clone(), *port))
        };
        let pairs = (info.rtp_port_max - info.rtp_port_min).div_ceil(2);
        let first = u16::try_from(self.first_pair % usize::from(pairs.max(1))).unwrap_or(0);
        let ports = |pairs: std::ops::Range<u16>| pairs.map(|pair| info.rtp_port_min + 2 * pair);
        ports(first..pairs).chain(ports(0..first)).find(free)
    }

    /// [`Self::free_port_on`] for a new lease, of which a node that drains gets none.
    fn port_for_new(&self, node: &NodeEntry) -> Option<u16> {
        if node.info.draining { None } else { self.free_port_on(node) }
    }

    fn end_all(&self, key: &StreamKey) -> Decision {
        Decision::End(self.view.legs_of(key).map(|leg| leg.lease.clone()).collect())
    }

    /// The node with the fewest leases, of these the first by id, that has a free port, no leg of the stream, and does not drain.
    fn least_loaded(&self, key: &StreamKey) -> Result<(&NodeEntry, u16), RegistryError> {
        if self.view.nodes.is_empty() {
            return Err(RegistryError::NoNode);
        }
        let legs: HashSet<_> =
            self.view.legs_of(key).map(|leg| leg.lease.node_id.as_str()).collect();
        let reserved = |id: &str| self.reserved.iter().filter(|(node_id, _)| node_id == id).count();
        let mut by_load: Vec<_> = self
            .view
            .nodes
            .iter()
            .filter(|(id, node)| !node.info.draining && !legs.contains(id.as_str()))
            .map(|(id, node)| (self.view.load(id) + reserved(id), id, node))
            .collect();
        by_load.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let found =
            by_load.into_iter().find_map(|(.., node)| Some((node, self.free_port_on(node)?)));
        found.ok_or_else(|| RegistryError::NoPort("any node".to_owned()))
    }
}
