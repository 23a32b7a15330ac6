//! Putting back what the book lost.

use std::time::Instant;

use super::{Book, End, MAX_EPOCH_AHEAD, MAX_LEASES, nodes::in_range};
use crate::{Claim, Grant, Lease, RegistryError, validate};

impl Book {
    /// Puts `lease` back as it was, unless something stands against it. A port that is set aside may be put back: it was
    /// most likely rejected since this very stream has it bound.
    pub(super) fn reassert(
        &mut self,
        claim: &Claim,
        lease: Lease,
        now: Instant,
    ) -> Result<Grant, RegistryError> {
        if lease.epoch > self.last_epoch.saturating_add(MAX_EPOCH_AHEAD) {
            let problem = format!("{} is far above any that was granted", lease.epoch);
            return Err(validate::invalid("reassert.epoch", problem));
        }
        let node = self.nodes.get(&lease.node_id);
        let Some(node) = node else { return Err(RegistryError::UnknownNode(lease.node_id)) };
        let port_in_range = in_range(&node.info, lease.rtp_port);
        let lease = Lease { ttl: self.config.ttl, ..lease };

        if let Some(entry) = self.leases.get(&lease.id) {
            // The port may be another by now: the answer to a rejection was lost.
            let same = Lease { rtp_port: entry.lease.rtp_port, ..lease.clone() };
            if entry.lease == same {
                self.renew_lease(&lease.id, now);
                return self.grant(&lease.id).ok_or(RegistryError::UnknownLease(lease.id.0));
            }
            return Err(fenced(&lease, "it was granted otherwise"));
        }
        if !port_in_range {
            return Err(fenced(&lease, "its port is not the node's any more"));
        }
        let superseded = self.check_epoch(claim, &lease)?;
        self.check_port(&lease, superseded)?;
        if self.leases.len() >= MAX_LEASES {
            return Err(RegistryError::Full(format!("it holds {MAX_LEASES} leases")));
        }
        if superseded {
            self.end_claim(&lease);
        }
        if !self.claims.contains_key(&lease.stream_key) {
            self.insert_claim(claim, lease.epoch);
        }
        self.last_epoch = self.last_epoch.max(lease.epoch);
        self.insert_on_node(lease, now)
    }

    /// Refuses what is older than the stream's epoch; whether there is a claim of an older epoch.
    fn check_epoch(&self, claim: &Claim, lease: &Lease) -> Result<bool, RegistryError> {
        let Some(present) = self.claims.get(&lease.stream_key) else {
            let ended = self.ended.epoch(&lease.stream_key);
            if lease.epoch < ended {
                return Err(fenced(lease, "a newer owner had the stream since"));
            }
            return Ok(false);
        };
        match present.epoch.cmp(&lease.epoch) {
            std::cmp::Ordering::Less => Ok(true),
            std::cmp::Ordering::Greater => {
                Err(fenced(lease, &format!("the stream has epoch {}", present.epoch)))
            }
            std::cmp::Ordering::Equal if present.owner_id != claim.owner_id => {
                Err(fenced(lease, &format!("the stream belongs to {}", present.owner_id)))
            }
            std::cmp::Ordering::Equal if present.leases_by_node.contains_key(&lease.node_id) => {
                Err(fenced(lease, "the stream has another lease on the node"))
            }
            std::cmp::Ordering::Equal => Ok(false),
        }
    }

    /// Refuses a port that another lease has; one of a claim that is superseded does not count.
    fn check_port(&self, lease: &Lease, superseded: bool) -> Result<(), RegistryError> {
        let holder = self.ports_by_node.get(&lease.node_id).and_then(|p| p.get(&lease.rtp_port));
        match holder.and_then(|id| self.leases.get(id)) {
            Some(entry) if !(superseded && entry.lease.stream_key == lease.stream_key) => {
                let holder = &entry.lease.stream_key;
                Err(fenced(lease, &format!("port {} is stream {holder}'s", lease.rtp_port)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn end_claim(&mut self, lease: &Lease) {
        let Some(claim) = self.claims.get(&lease.stream_key) else { return };
        let ids: Vec<_> = claim.leases_by_node.values().cloned().collect();
        for id in ids {
            self.end_lease(&id, End::Released);
        }
    }
}

/// Why a lease cannot be put back.
pub(crate) fn fenced(lease: &Lease, problem: &str) -> RegistryError {
    RegistryError::Fenced {
        lease_id: lease.id.0.clone(),
        epoch: lease.epoch,
        problem: problem.to_owned(),
    }
}
