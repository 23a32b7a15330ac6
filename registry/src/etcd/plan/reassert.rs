//! Putting back what etcd lost.

use super::{Decision, Desk};
use crate::{
    Claim, Lease, LeaseId, RegistryError,
    book::{MAX_EPOCH_AHEAD, MAX_LEASES, Standing, StandingClaim, fenced, in_range},
    etcd::{
        records::{EpochRecord, PortRecord},
        view::LegEntry,
    },
    validate,
};

impl Desk<'_> {
    /// Puts `lease` back as it was, unless something stands against it.
    pub(super) fn reassert(&self, claim: &Claim, lease: &Lease) -> Result<Decision, RegistryError> {
        let last_epoch = EpochRecord::Base(self.epoch_base()?).epoch(self.view.revision);
        if lease.epoch > last_epoch.saturating_add(MAX_EPOCH_AHEAD) {
            let problem = format!("{} is far above any that was granted", lease.epoch);
            return Err(validate::invalid("reassert.epoch", problem));
        }
        let unknown = || RegistryError::UnknownNode(lease.node_id.clone());
        let node = self.view.nodes.get(&lease.node_id).ok_or_else(unknown)?;
        if let Some(LegEntry { lease: there, .. }) = self.view.lease(&lease.id) {
            // The port may be another by now: the answer to a rejection was lost.
            let same = Lease { rtp_port: there.rtp_port, ttl: there.ttl, ..lease.clone() };
            return if *there == same {
                Ok(Decision::Held(lease.id.clone(), self.unchanged(&lease.stream_key)))
            } else {
                Err(fenced(lease, "it was granted otherwise"))
            };
        }
        if !in_range(&node.info, lease.rtp_port) {
            return Err(fenced(lease, "its port is not the node's any more"));
        }
        let superseded = self.standing(lease).admit(claim, lease)?;
        if self.view.legs.len() >= MAX_LEASES {
            return Err(RegistryError::Full(format!("it holds {MAX_LEASES} leases")));
        }
        if superseded {
            return Ok(self.end_all(&lease.stream_key));
        }
        let epoch = match self.view.claims.get(&lease.stream_key) {
            Some(present) => present.epoch_record,
            None => EpochRecord::Is(lease.epoch),
        };
        let placed = (node, lease.rtp_port);
        let mut placement = self.placement(claim, lease.id.clone(), placed, epoch);
        if lease.epoch > last_epoch {
            // Whatever is claimed from the next revision on goes on above it.
            let revision = self.view.revision.unsigned_abs();
            placement.epoch_base = Some(lease.epoch.saturating_sub(revision));
        }
        Ok(Decision::Grant(placement))
    }

    /// What stands where `lease` is to be put back.
    fn standing(&self, lease: &Lease) -> Standing<'_> {
        let view = self.view;
        let mut legs = view.legs_of(&lease.stream_key);
        let port = view.ports.get(&lease.node_id).and_then(|ports| ports.get(&lease.rtp_port));
        let holder = port.and_then(|entry| match &entry.holder {
            PortRecord::Lease(id) => view.lease(&LeaseId(id.clone())),
            PortRecord::RestsUntilMs(_) => None,
        });
        Standing {
            claim: view.claims.get(&lease.stream_key).map(|claim| StandingClaim {
                epoch: claim.epoch,
                owner_id: &claim.owner_id,
                has_leg: legs.any(|leg| leg.lease.node_id == lease.node_id),
            }),
            ended: view.fences.get(&lease.stream_key).copied().unwrap_or(0),
            port_of: holder.map(|leg| &leg.lease.stream_key),
        }
    }
}
