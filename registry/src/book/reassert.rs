//! Putting back what the book lost; what both engines admit.

use std::{cmp::Ordering, time::Instant};

use media::StreamKey;

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
        let superseded = self.standing(&lease).admit(claim, &lease)?;
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

    /// What stands where `lease` is to be put back.
    fn standing(&self, lease: &Lease) -> Standing<'_> {
        let ports = self.ports_by_node.get(&lease.node_id);
        let holder = ports.and_then(|ports| self.leases.get(ports.get(&lease.rtp_port)?));
        Standing {
            claim: self.claims.get(&lease.stream_key).map(|claim| StandingClaim {
                epoch: claim.epoch,
                owner_id: &claim.owner_id,
                has_leg: claim.leases_by_node.contains_key(&lease.node_id),
            }),
            ended: self.ended.epoch(&lease.stream_key),
            port_of: holder.map(|entry| &entry.lease.stream_key),
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

/// What an engine has where a lease is to be put back.
pub(crate) struct Standing<'a> {
    /// The claim on its stream.
    pub(crate) claim: Option<StandingClaim<'a>>,
    /// The last epoch of its stream, for when nobody has it; 0: none is known.
    pub(crate) ended: u64,
    /// The stream whose lease has its port. A port that is set aside is nobody's: it was most likely rejected since this very
    /// stream has it bound.
    pub(crate) port_of: Option<&'a StreamKey>,
}

/// Who has a stream.
pub(crate) struct StandingClaim<'a> {
    pub(crate) epoch: u64,
    pub(crate) owner_id: &'a str,
    /// A leg to the node of the lease is there.
    pub(crate) has_leg: bool,
}

impl Standing<'_> {
    /// Refuses what is older than the stream's epoch, and a port that another lease has; those of a claim of an older epoch do not
    /// count. Whether there is such a claim: it ends.
    pub(crate) fn admit(&self, claim: &Claim, lease: &Lease) -> Result<bool, RegistryError> {
        let superseded = self.admit_epoch(claim, lease)?;
        match self.port_of {
            Some(holder) if !(superseded && *holder == lease.stream_key) => {
                Err(fenced(lease, &format!("port {} is stream {holder}'s", lease.rtp_port)))
            }
            Some(_) | None => Ok(superseded),
        }
    }

    fn admit_epoch(&self, claim: &Claim, lease: &Lease) -> Result<bool, RegistryError> {
        let Some(present) = &self.claim else {
            return if lease.epoch < self.ended {
                Err(fenced(lease, "a newer owner had the stream since"))
            } else {
                Ok(false)
            };
        };
        match present.epoch.cmp(&lease.epoch) {
            Ordering::Less => Ok(true),
            Ordering::Greater => {
                Err(fenced(lease, &format!("the stream has epoch {}", present.epoch)))
            }
            Ordering::Equal if present.owner_id != claim.owner_id => {
                Err(fenced(lease, &format!("the stream belongs to {}", present.owner_id)))
            }
            Ordering::Equal if present.has_leg => {
                Err(fenced(lease, "the stream has another lease on the node"))
            }
            Ordering::Equal => Ok(false),
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
