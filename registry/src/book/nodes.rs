//! Announcing, renewing and taking out nodes.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use super::{Book, End, Expiring, MAX_NODES, NodeEntry};
use crate::{LeaseId, NodeInfo, RegistryError, WatchEvent, validate};

impl Book {
    /// Announces a node, or renews it when nothing about it is new. Leases that the node as announced now cannot
    /// receive, by port or address, end.
    pub(crate) fn register_node(
        &mut self,
        info: NodeInfo,
        now: Instant,
        wall: SystemTime,
    ) -> Result<(), RegistryError> {
        validate::node(&info)?;
        let known = self.nodes.get(&info.id).map(|entry| entry.info == info);
        if known == Some(true) {
            return self.keep_alive(&info.id, now);
        }
        if known.is_none() && self.nodes.len() >= MAX_NODES {
            return Err(RegistryError::Full(format!("it holds {MAX_NODES} nodes")));
        }
        self.end_unreachable_leases(&info);
        let expires = now + self.config.ttl;
        let id = info.id.clone();
        self.deadlines.insert((expires, Expiring::Node(id.clone())));
        let mut entry =
            NodeEntry { info, registered_at: wall, expires, resting: BTreeMap::default() };
        let node = self.view(&entry);
        match self.nodes.remove(&id) {
            Some(old) => {
                if old.expires != expires {
                    self.deadlines.remove(&(old.expires, Expiring::Node(id.clone())));
                }
                entry.resting = old.resting;
                self.events.push(WatchEvent::NodeChanged(node));
            }
            None => self.events.push(WatchEvent::NodeAdded(node)),
        }
        self.nodes.insert(id, entry);
        Ok(())
    }

    fn end_unreachable_leases(&mut self, info: &NodeInfo) {
        let leases = self.leases_on(&info.id, |port, address| {
            !in_range(info, port) || address != info.rtp_address
        });
        for id in leases {
            self.end_lease(&id, End::Released);
        }
    }

    fn leases_on(
        &self,
        node_id: &str,
        wanted: impl Fn(u16, std::net::IpAddr) -> bool,
    ) -> Vec<LeaseId> {
        let ports = self.ports_by_node.get(node_id).into_iter().flatten();
        let wanted = ports.filter(|(port, id)| {
            self.leases.get(*id).is_some_and(|entry| wanted(**port, entry.rtp_address))
        });
        wanted.map(|(_, id)| id.clone()).collect()
    }

    /// Renews an announcement.
    pub(crate) fn keep_alive(&mut self, node_id: &str, now: Instant) -> Result<(), RegistryError> {
        validate::id("node_id", node_id)?;
        let unknown = || RegistryError::UnknownNode(node_id.to_owned());
        let entry = self.nodes.get_mut(node_id).ok_or_else(unknown)?;
        self.deadlines.remove(&(entry.expires, Expiring::Node(node_id.to_owned())));
        entry.expires = now + self.config.ttl;
        self.deadlines.insert((entry.expires, Expiring::Node(node_id.to_owned())));
        Ok(())
    }

    /// Takes a node out, its leases first.
    pub(crate) fn deregister_node(&mut self, node_id: &str) -> Result<(), RegistryError> {
        validate::id("node_id", node_id)?;
        for id in self.leases_on(node_id, |_, _| true) {
            self.end_lease(&id, End::Released);
        }
        if let Some(entry) = self.nodes.remove(node_id) {
            self.deadlines.remove(&(entry.expires, Expiring::Node(node_id.to_owned())));
            let node = self.view(&entry);
            self.events.push(WatchEvent::NodeRemoved { node, expired: false });
        }
        Ok(())
    }
}

/// Whether RTP on `port` and RTCP on the next are both the node's.
pub(crate) fn in_range(info: &NodeInfo, port: u16) -> bool {
    port >= info.rtp_port_min && port < info.rtp_port_max
}
