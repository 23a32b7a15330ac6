//! Granting, renewing, rejecting and ending leases.

use std::{collections::BTreeMap, time::Instant};

use media::StreamKey;

use super::{Book, ClaimEntry, End, MAX_LEASES};
use crate::{Claim, Grant, Lease, LeaseId, RegistryError, WatchEvent, validate};

impl ClaimEntry {
    /// Where the owner is called: what it says, or, where it says nothing, what it said.
    fn learn_url(&mut self, claim: &Claim) {
        if !claim.owner_grpc_url.is_empty() {
            self.owner_grpc_url.clone_from(&claim.owner_grpc_url);
        }
    }
}

impl Book {
    /// Grants a leg: what the owner holds already, or a new lease.
    pub(crate) fn allocate_port(
        &mut self,
        claim: Claim,
        now: Instant,
    ) -> Result<Grant, RegistryError> {
        validate::claim(&claim)?;
        if let Some(lease) = &claim.reassert {
            let lease = lease.clone();
            return self.reassert(&claim, lease, now);
        }
        let superseded = self.superseded(&claim);
        if superseded.is_empty()
            && let Some(grant) = self.held(&claim, now)?
        {
            return Ok(grant);
        }
        if self.leases.len() >= MAX_LEASES {
            return Err(RegistryError::Full(format!("it holds {MAX_LEASES} leases")));
        }
        // What is superseded ends whatever comes of the claim: its owner is gone.
        superseded.iter().for_each(|(_, lease)| self.end_lease(lease, End::Released));
        let before = superseded.into_iter().map(|(node_id, _)| node_id);
        let (node_id, rtp_port) = match &claim.node_id {
            Some(node_id) => (node_id.clone(), self.port_for_new(node_id, now)?),
            None => self.choose(&claim.stream_key, before, now)?,
        };
        let epoch = self.claim_stream(&claim);
        let lease = Lease {
            id: self.next_lease_id(),
            stream_key: claim.stream_key,
            node_id,
            rtp_port,
            epoch,
            owner_id: claim.owner_id,
            ttl: self.config.ttl,
        };
        self.insert_on_node(lease, now)
    }

    /// The nodes and leases of the claim that is to be superseded by this one; none if there is no such claim.
    fn superseded(&self, claim: &Claim) -> Vec<(String, LeaseId)> {
        let entry = self.claims.get(&claim.stream_key).filter(|entry| {
            Some(entry.epoch) == claim.supersede && entry.owner_id != claim.owner_id
        });
        let leases = entry.into_iter().flat_map(|entry| &entry.leases_by_node);
        leases.map(|(node_id, lease)| (node_id.clone(), lease.clone())).collect()
    }

    /// The lease that the owner has already for what it asks; `Owned` if the stream is another's.
    fn held(&mut self, claim: &Claim, now: Instant) -> Result<Option<Grant>, RegistryError> {
        let Some(entry) = self.claims.get_mut(&claim.stream_key) else { return Ok(None) };
        if entry.owner_id != claim.owner_id {
            return Err(RegistryError::Owned {
                stream_key: claim.stream_key.clone(),
                owner_id: entry.owner_id.clone(),
                epoch: entry.epoch,
            });
        }
        let mut legs = entry.leases_by_node.iter().filter(|(node_id, _)| {
            self.nodes.get(*node_id).is_some_and(|node| match &claim.node_id {
                Some(wished) => wished == *node_id,
                // Who does not say where wants to be somewhere else than on a node that is about to go.
                None => !node.info.draining,
            })
        });
        let Some((_, lease_id)) = legs.next() else { return Ok(None) };
        let lease_id = lease_id.clone();
        entry.learn_url(claim);
        self.renew_lease(&lease_id, now);
        Ok(self.grant(&lease_id))
    }

    /// Makes or extends the claim; its epoch.
    fn claim_stream(&mut self, claim: &Claim) -> u64 {
        if let Some(entry) = self.claims.get_mut(&claim.stream_key) {
            entry.learn_url(claim);
            return entry.epoch;
        }
        self.last_epoch += 1;
        self.insert_claim(claim, self.last_epoch);
        self.last_epoch
    }

    pub(super) fn insert_claim(&mut self, claim: &Claim, epoch: u64) {
        let entry = ClaimEntry {
            owner_id: claim.owner_id.clone(),
            owner_grpc_url: claim.owner_grpc_url.clone(),
            epoch,
            leases_by_node: BTreeMap::new(),
        };
        self.claims.insert(claim.stream_key.clone(), entry);
    }

    /// Adds a lease on a node that is there.
    pub(super) fn insert_on_node(
        &mut self,
        lease: Lease,
        now: Instant,
    ) -> Result<Grant, RegistryError> {
        let unknown = || RegistryError::UnknownNode(lease.node_id.clone());
        let rtp_address = self.nodes.get(&lease.node_id).ok_or_else(unknown)?.info.rtp_address;
        let (id, node_id) = (lease.id.clone(), lease.node_id.clone());
        self.add_lease(lease, rtp_address, now);
        self.grant(&id).ok_or(RegistryError::UnknownNode(node_id))
    }

    fn next_lease_id(&mut self) -> LeaseId {
        loop {
            self.leases_granted += 1;
            let id = LeaseId(format!("{:016x}-{}", self.run, self.leases_granted));
            // Only a caller that re-asserts a lease that it made up can have taken it.
            if !self.leases.contains_key(&id) {
                return id;
            }
        }
    }

    /// The lowest free port of a node.
    fn free_port_on(&mut self, node_id: &str, now: Instant) -> Result<u16, RegistryError> {
        let unknown = || RegistryError::UnknownNode(node_id.to_owned());
        let node = self.nodes.get_mut(node_id).ok_or_else(unknown)?;
        node.resting.retain(|_, until| *until > now);
        let held = self.ports_by_node.get(node_id);
        (node.info.rtp_port_min..node.info.rtp_port_max)
            .step_by(2)
            .find(|port| {
                !node.resting.contains_key(port) && held.is_none_or(|held| !held.contains_key(port))
            })
            .ok_or_else(|| RegistryError::NoPort(node_id.to_owned()))
    }

    /// [`Self::free_port_on`] for a new lease, of which a node that drains gets none.
    fn port_for_new(&mut self, node_id: &str, now: Instant) -> Result<u16, RegistryError> {
        if self.nodes.get(node_id).is_some_and(|node| node.info.draining) {
            return Err(RegistryError::NoPort(format!("{node_id}, which drains")));
        }
        self.free_port_on(node_id, now)
    }

    /// The first node of `before` that can take the stream, so that its readers go on there; else the least loaded.
    fn choose(
        &mut self,
        key: &StreamKey,
        before: impl Iterator<Item = String>,
        now: Instant,
    ) -> Result<(String, u16), RegistryError> {
        for node_id in before {
            if let Ok(port) = self.port_for_new(&node_id, now) {
                return Ok((node_id, port));
            }
        }
        self.least_loaded(key, now)
    }

    /// The node with the fewest leases, of these the first by id, that has a free port, no leg of the stream, and does not drain.
    fn least_loaded(
        &mut self,
        key: &StreamKey,
        now: Instant,
    ) -> Result<(String, u16), RegistryError> {
        if self.nodes.is_empty() {
            return Err(RegistryError::NoNode);
        }
        let legs = self.claims.get(key).map(|claim| &claim.leases_by_node);
        let free = self.nodes.iter().filter(|(id, node)| {
            !node.info.draining && legs.is_none_or(|legs| !legs.contains_key(*id))
        });
        let mut by_load: Vec<_> = free.map(|(id, _)| (self.load(id), id.clone())).collect();
        by_load.sort();
        for (_, node_id) in by_load {
            match self.free_port_on(&node_id, now) {
                Ok(port) => return Ok((node_id, port)),
                Err(_full) => {}
            }
        }
        Err(RegistryError::NoPort("any node".to_owned()))
    }

    /// Renews an owner's leases; those that are lost to it. A lease on a node that is gone ends here.
    pub(crate) fn renew_leases(
        &mut self,
        owner_id: &str,
        leases: &[LeaseId],
        now: Instant,
    ) -> Result<Vec<LeaseId>, RegistryError> {
        validate::renewal(owner_id, leases, MAX_LEASES)?;
        let mut lost = Vec::new();
        for id in leases {
            match self.leases.get(id).map(|entry| &entry.lease) {
                Some(lease) if lease.owner_id != owner_id => lost.push(id.clone()),
                Some(lease) if self.nodes.contains_key(&lease.node_id) => self.renew_lease(id, now),
                Some(_on_a_node_that_is_gone) => {
                    self.end_lease(id, End::Expired);
                    lost.push(id.clone());
                }
                None => lost.push(id.clone()),
            }
        }
        Ok(lost)
    }

    /// Ends a lease.
    pub(crate) fn release_port(&mut self, lease: &LeaseId) -> Result<(), RegistryError> {
        validate::id("lease_id", &lease.0)?;
        self.end_lease(lease, End::Released);
        Ok(())
    }

    /// Sets the port of a lease aside and gives the lease another: on its node, else on another one, else it ends.
    pub(crate) fn reject_port(
        &mut self,
        id: &LeaseId,
        now: Instant,
    ) -> Result<Grant, RegistryError> {
        validate::id("lease_id", &id.0)?;
        let unknown = || RegistryError::UnknownLease(id.0.clone());
        let lease = self.leases.get(id).ok_or_else(unknown)?.lease.clone();
        if let Some(node) = self.nodes.get_mut(&lease.node_id) {
            node.resting.insert(lease.rtp_port, now + self.config.rejected_port_rest);
        }
        let next = match self.free_port_on(&lease.node_id, now) {
            Ok(port) => Ok((lease.node_id.clone(), port)),
            Err(_full_or_gone) => self.least_loaded(&lease.stream_key, now),
        };
        match next {
            Ok((node_id, port)) => {
                self.move_lease(id, node_id, port);
                self.renew_lease(id, now);
                self.grant(id).ok_or_else(unknown)
            }
            Err(error) => {
                self.end_lease(id, End::Released);
                Err(error)
            }
        }
    }

    fn move_lease(&mut self, id: &LeaseId, node_id: String, port: u16) {
        let Some(entry) = self.leases.get_mut(id) else { return };
        if let Some(node) = self.nodes.get(&node_id) {
            entry.rtp_address = node.info.rtp_address;
        }
        let old_node = std::mem::replace(&mut entry.lease.node_id, node_id.clone());
        let old_port = std::mem::replace(&mut entry.lease.rtp_port, port);
        let lease = entry.lease.clone();
        self.free_port(&old_node, old_port);
        if let Some(claim) = self.claims.get_mut(&lease.stream_key) {
            claim.leases_by_node.remove(&old_node);
            claim.leases_by_node.insert(node_id.clone(), id.clone());
        }
        self.ports_by_node.entry(node_id).or_default().insert(port, id.clone());
        self.events.push(WatchEvent::LeaseChanged(lease));
    }
}
