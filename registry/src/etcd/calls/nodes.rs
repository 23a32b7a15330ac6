//! Nodes that come, stay and go.

use std::time::SystemTime;

use super::contended;
use crate::{
    NodeInfo, RegistryError,
    book::{MAX_NODES, in_range},
    etcd::{
        ATTEMPTS, Shared,
        keys::{Key, SessionId},
        records::{NodeRecord, encode},
        write::{Condition, Write},
    },
};

impl Shared {
    pub(super) async fn register(&self, info: NodeInfo) -> Result<(), RegistryError> {
        let id = SessionId::Node(info.id.clone());
        let now = SystemTime::now();
        for _ in 0..ATTEMPTS {
            self.link.member().await?;
            let (known, count, unreachable) = {
                let state = self.lock();
                let known = state.view.nodes.get(&info.id).map(|node| node.info == info);
                let unreachable = state.view.legs_on(&info.id).into_iter().filter(|leg| {
                    !in_range(&info, leg.lease.rtp_port) || leg.rtp_address != info.rtp_address
                });
                let unreachable: Vec<_> = unreachable.map(|leg| leg.lease.id.clone()).collect();
                (known, state.view.nodes.len(), unreachable)
            };
            if known == Some(true) {
                return self.keep_node(&info.id).await;
            }
            if known.is_none() && count >= MAX_NODES {
                return Err(RegistryError::Full(format!("it holds {MAX_NODES} nodes")));
            }
            for lease in unreachable {
                self.end_lease(&lease, false).await?;
            }
            let session = self.session(&id).await?;
            let node = Key::Node(info.id.clone());
            let record = encode(&NodeRecord::new(&info, now));
            let write = self.decide(|desk| {
                Write::new()
                    .when(Condition::Home(id.clone(), self.id.clone()))
                    .when_as_in(desk.view, node.clone())
                    .put(node, record, session)
            });
            if self.commit(&write).await? {
                self.renew_node(&info.id);
                return Ok(());
            }
        }
        Err(contended())
    }

    fn renew_node(&self, id: &str) {
        let mut state = self.lock();
        let deadline = state.now() + self.ttl();
        state.homes.renew_node(id, deadline);
    }

    pub(super) async fn keep_node(&self, id: &str) -> Result<(), RegistryError> {
        if !self.lock().view.nodes.contains_key(id) {
            self.sync().await?;
        }
        if !self.lock().view.nodes.contains_key(id) {
            return Err(RegistryError::UnknownNode(id.to_owned()));
        }
        self.session(&SessionId::Node(id.to_owned())).await?;
        // Its announcement may have gone with an etcd lease that ended just now.
        if !self.lock().view.nodes.contains_key(id) {
            return Err(RegistryError::UnknownNode(id.to_owned()));
        }
        self.renew_node(id);
        Ok(())
    }

    /// Takes a node out, if it is there.
    pub(in crate::etcd) async fn remove_node(
        &self,
        id: &str,
        expired: bool,
    ) -> Result<(), RegistryError> {
        let session = SessionId::Node(id.to_owned());
        for _ in 0..ATTEMPTS {
            let lease = self.lock().view.sessions.get(&session).map(|session| session.lease);
            let Some(write) = self.decide(|desk| desk.remove_node(id, expired)) else {
                return Ok(());
            };
            if self.commit(&write).await? {
                if let (Some(lease), Ok(member)) = (lease, self.link.member().await) {
                    // What is left on it would end by itself.
                    let _ = self.link.revoke(&member, lease).await;
                }
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Takes a node out with its leases.
    pub(super) async fn deregister(&self, id: &str) -> Result<(), RegistryError> {
        if !self.lock().view.nodes.contains_key(id) {
            self.sync().await?;
        }
        let legs: Vec<_> = {
            let state = self.lock();
            state.view.legs_on(id).into_iter().map(|leg| leg.lease.id.clone()).collect()
        };
        for leg in legs {
            self.end_lease(&leg, false).await?;
        }
        self.remove_node(id, false).await
    }
}
