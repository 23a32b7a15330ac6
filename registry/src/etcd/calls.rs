//! The calls of [`Engine`].

mod nodes;
mod sessions;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use media::StreamKey;

use super::{
    ATTEMPTS, EtcdEngine, Reserved, Shared,
    keys::SessionId,
    plan::{Decision, Rejection},
    records::unix_ms,
};
use crate::{
    Claim, Engine, Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, StreamOwner, Watch,
    book::MAX_LEASES, validate,
};

/// What others keep changing.
fn contended() -> RegistryError {
    RegistryError::Unavailable("others keep changing what this was decided on".to_owned())
}

impl Shared {
    async fn allocate(&self, claim: &Claim) -> Result<Grant, RegistryError> {
        let _turn = self.streams.turn(&claim.stream_key).await;
        let lease_id = match &claim.reassert {
            Some(lease) => lease.id.clone(),
            None => self.next_lease_id(),
        };
        let owner = SessionId::Owner(claim.owner_id.clone());
        let mut before = Vec::new();
        for attempt in 0..ATTEMPTS {
            self.link.member().await?;
            let first_pair = if attempt == 0 { 0 } else { rand::random_range(0..1 << 15) };
            let (decision, _reserved) = self.decide_claim(claim, &lease_id, &before, first_pair)?;
            let id = match decision {
                Decision::Owned(refusal, check) => {
                    if self.commit(&check).await? {
                        return Err(refusal);
                    }
                    continue;
                }
                Decision::Held(id, write) => {
                    self.session(&owner).await?;
                    if !self.commit(&write).await? {
                        continue;
                    }
                    id
                }
                Decision::End(leases) => {
                    for lease in leases {
                        self.end_lease(&lease.id, false).await?;
                        before.push(lease.node_id);
                    }
                    continue;
                }
                Decision::Grant(placement) => {
                    let (session, fences) = (self.session(&owner).await?, self.fences().await?);
                    let id = placement.lease_id.clone();
                    if !self.commit(&placement.write(session, fences)).await? {
                        continue;
                    }
                    id
                }
            };
            if let Some(grant) = self.renewed(&id) {
                return Ok(grant);
            }
        }
        Err(contended())
    }

    /// Decides on a claim, and keeps the port that it is about to take from other calls of this engine.
    fn decide_claim(
        &self,
        claim: &Claim,
        lease_id: &LeaseId,
        before: &[String],
        first_pair: usize,
    ) -> Result<(Decision, Option<Reserved<'_>>), RegistryError> {
        let mut state = self.lock();
        let desk = self.desk(&state, first_pair);
        let decision = desk.allocate(claim, lease_id.clone(), before)?;
        let port = match &decision {
            Decision::Grant(placement) => (placement.node_id.clone(), placement.rtp_port),
            Decision::Held(..) | Decision::Owned(..) | Decision::End(_) => {
                return Ok((decision, None));
            }
        };
        Ok((decision, Some(self.reserve(&mut state, port))))
    }

    /// As [`Shared::decide_claim`], for a rejection.
    fn decide_rejection(
        &self,
        id: &LeaseId,
        first_pair: usize,
        fences: i64,
    ) -> Result<(Rejection, Option<Reserved<'_>>), RegistryError> {
        let mut state = self.lock();
        let rest = self.config.book.rejected_port_rest;
        let until = unix_ms(SystemTime::now() + state.ahead + rest);
        let mut rejection = self.desk(&state, first_pair).reject(id, until, fences)?;
        let reserved = rejection.taken.take().map(|port| self.reserve(&mut state, port));
        Ok((rejection, reserved))
    }

    /// Ends a lease, if it is there.
    pub(super) async fn end_lease(&self, id: &LeaseId, expired: bool) -> Result<(), RegistryError> {
        for _ in 0..ATTEMPTS {
            let fences = self.fences().await?;
            let Some(write) = self.decide(|desk| desk.end(id, expired, fences)) else {
                return Ok(());
            };
            if self.commit(&write).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn reject(&self, id: &LeaseId) -> Result<Grant, RegistryError> {
        if self.lock().view.lease(id).is_none() {
            self.sync().await?;
        }
        for attempt in 0..ATTEMPTS {
            let fences = self.fences().await?;
            let first_pair = if attempt == 0 { 0 } else { rand::random_range(0..1 << 15) };
            let (Rejection { write, answer, .. }, _reserved) =
                self.decide_rejection(id, first_pair, fences)?;
            if self.commit(&write).await? {
                answer?;
                let unknown = || RegistryError::UnknownLease(id.0.clone());
                return self.renewed(id).ok_or_else(unknown);
            }
        }
        Err(contended())
    }

    /// Of an owner's leases those that are not there any more, or whose node is not; the others are renewed.
    async fn renew(&self, owner_id: &str, ids: &[LeaseId]) -> Result<Vec<LeaseId>, RegistryError> {
        let owner = SessionId::Owner(owner_id.to_owned());
        if ids.iter().any(|id| self.lock().view.lease(id).is_none()) {
            // Another engine may just have granted it.
            self.sync().await?;
        }
        if self.lock().view.sessions.contains_key(&owner) {
            self.session(&owner).await?;
        }
        let (mut lost, mut unreachable) = (Vec::new(), Vec::new());
        {
            let mut state = self.lock();
            let deadline = state.now() + self.ttl();
            for id in ids {
                match state.view.lease(id).map(|leg| &leg.lease) {
                    Some(lease) if lease.owner_id != owner_id => lost.push(id.clone()),
                    Some(lease) if state.view.nodes.contains_key(&lease.node_id) => {
                        state.homes.renew_lease(id, deadline);
                    }
                    Some(_on_a_node_that_is_gone) => unreachable.push(id.clone()),
                    None => lost.push(id.clone()),
                }
            }
        }
        for id in unreachable {
            self.end_lease(&id, true).await?;
            lost.push(id);
        }
        Ok(lost)
    }

    /// Reads the view, if it is up to date as far as can be told.
    async fn read<T>(
        &self,
        read: impl FnOnce(&super::view::View) -> T,
    ) -> Result<T, RegistryError> {
        self.link.member().await?;
        Ok(read(&self.lock().view))
    }
}

#[async_trait]
impl Engine for EtcdEngine {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        validate::node(&node)?;
        self.shared.register(node).await?;
        Ok(self.shared.ttl())
    }

    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        validate::id("node_id", node_id)?;
        self.shared.keep_node(node_id).await?;
        Ok(self.shared.ttl())
    }

    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        validate::id("node_id", node_id)?;
        self.shared.deregister(node_id).await
    }

    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        validate::claim(&claim)?;
        self.shared.allocate(&claim).await
    }

    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        validate::renewal(owner_id, leases, MAX_LEASES)?;
        Ok((self.shared.renew(owner_id, leases).await?, self.shared.ttl()))
    }

    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        validate::id("lease_id", &lease.0)?;
        if self.shared.lock().view.lease(lease).is_none() {
            self.shared.sync().await?;
        }
        self.shared.end_lease(lease, false).await
    }

    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        validate::id("lease_id", &lease.0)?;
        self.shared.reject(lease).await
    }

    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        self.shared.read(|view| view.lookup(key)).await?
    }

    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        self.shared.read(|view| view.list_nodes()).await
    }

    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        self.shared.read(|view| view.list_leases()).await
    }

    async fn watch(&self) -> Result<Watch, RegistryError> {
        self.shared.link.member().await?;
        self.shared.watch()
    }
}
