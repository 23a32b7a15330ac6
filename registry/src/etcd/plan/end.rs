//! What ends: leases, ports that are rejected, nodes.

use super::Desk;
use crate::{
    Lease, LeaseId, RegistryError,
    etcd::{
        keys::{Key, LegPlace, SessionId},
        records::{EpochRecord, LegRecord, PortRecord, SessionRecord, encode},
        view::{LegEntry, NodeEntry},
        write::Write,
    },
};

/// What to do for a rejected port.
pub(in crate::etcd) struct Rejection {
    pub write: Write,
    /// Why the lease ends.
    pub answer: Result<(), RegistryError>,
    /// The port that it takes instead.
    pub taken: Option<(String, u16)>,
}

impl Desk<'_> {
    /// Ends a lease; its claim with the last one. `expired`: nobody renewed it, which only the engine that is its
    /// owner's home can say. `None`: it is not there.
    pub(in crate::etcd) fn end(&self, id: &LeaseId, expired: bool, fences: i64) -> Option<Write> {
        let LegEntry { lease, .. } = self.view.lease(id)?;
        let owner = SessionId::Owner(lease.owner_id.clone());
        let place =
            LegPlace { stream_key: lease.stream_key.clone(), node_id: lease.node_id.clone() };
        let mut write = Write::new()
            .delete(Key::Leg(place))
            .delete(Key::Port(lease.node_id.clone(), lease.rtp_port));
        if self.view.legs_of(&lease.stream_key).nth(1).is_some() {
            write = self.touch_claim(write, &lease.stream_key, None);
        } else {
            let stream = Key::Stream(lease.stream_key.clone());
            let epoch = encode(&EpochRecord::Is(lease.epoch));
            write = write.when_as_in(self.view, stream.clone()).delete(stream).put(
                Key::Fence(lease.stream_key.clone()),
                epoch,
                fences,
            );
        }
        if expired {
            write = self.touch_session(write, owner);
        }
        Some(write)
    }

    /// Writes a session as it is, if this engine is its home: what is deleted with it has expired.
    fn touch_session(&self, write: Write, id: SessionId) -> Write {
        let lease = self.view.sessions.get(&id).map_or(0, |session| session.lease);
        let record = SessionRecord { home: self.home.to_owned() };
        write.when(self.home(id.clone())).put(Key::Session(id), encode(&record), lease)
    }

    /// Sets a lease's port aside until `until_ms`. Its own node is asked first for another, then the others; the
    /// lease ends where none has one.
    pub(in crate::etcd) fn reject(
        &self,
        id: &LeaseId,
        until_ms: u64,
        fences: i64,
    ) -> Result<Rejection, RegistryError> {
        let unknown = || RegistryError::UnknownLease(id.0.clone());
        let LegEntry { lease, .. } = self.view.lease(id).ok_or_else(unknown)?;
        let own = self.view.nodes.get(&lease.node_id);
        let next = match own.and_then(|node| Some((node, self.free_port_on(node)?))) {
            Some(next) => Ok(next),
            None => self.least_loaded(&lease.stream_key),
        };
        let old = Key::Port(lease.node_id.clone(), lease.rtp_port);
        let rest = |write: Write| match own {
            Some(_) => write.put(old.clone(), encode(&PortRecord::RestsUntilMs(until_ms)), fences),
            None => write.delete(old.clone()),
        };
        match next {
            Err(error) => {
                let ended = self.end(id, false, fences).ok_or_else(unknown)?;
                Ok(Rejection { write: rest(ended), answer: Err(error), taken: None })
            }
            Ok((node, port)) => Ok(Rejection {
                write: rest(self.move_leg(lease, node, port)),
                answer: Ok(()),
                taken: Some((node.info.id.clone(), port)),
            }),
        }
    }

    fn move_leg(&self, lease: &Lease, node: &NodeEntry, rtp_port: u16) -> Write {
        let owner = SessionId::Owner(lease.owner_id.clone());
        let session = self.view.sessions.get(&owner).map_or(0, |session| session.lease);
        let place = |node_id: &String| {
            Key::Leg(LegPlace { stream_key: lease.stream_key.clone(), node_id: node_id.clone() })
        };
        let leg = LegRecord {
            lease_id: lease.id.0.clone(),
            rtp_port,
            rtp_address: node.info.rtp_address,
        };
        let port = Key::Port(node.info.id.clone(), rtp_port);
        let write = Write::new()
            .when_as_in(self.view, Key::Node(node.info.id.clone()))
            .when_as_in(self.view, port.clone())
            .put(place(&node.info.id), encode(&leg), session)
            .put(port, encode(&PortRecord::Lease(lease.id.0.clone())), session)
            .delete(place(&lease.node_id));
        self.touch_claim(write, &lease.stream_key, None)
    }

    /// Takes a node out. `expired`: nobody renewed it.
    pub(in crate::etcd) fn remove_node(&self, id: &str, expired: bool) -> Option<Write> {
        self.view.nodes.get(id)?;
        let session = SessionId::Node(id.to_owned());
        let node = Key::Node(id.to_owned());
        let write = Write::new().when_as_in(self.view, node.clone()).delete(node);
        Some(if expired {
            write.when(self.home(session.clone())).delete(Key::Session(session))
        } else {
            write
        })
    }
}
