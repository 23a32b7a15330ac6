//! Between the messages of `proto` and their typed twins.

use std::{net::IpAddr, time::SystemTime};

use media::StreamKey;
use proto::{
    duration, std_duration, timestamp,
    v1::{self, watch_response::Subject},
};

use crate::{Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, WatchEvent, validate::invalid};

/// The names of the fields of a lease in a request.
#[derive(Clone, Copy, Debug)]
pub struct LeaseFields {
    /// Of the stream key.
    pub stream_key: &'static str,
    /// Of the RTP port.
    pub rtp_port: &'static str,
}

/// The names of the fields of a node in a request.
#[derive(Clone, Copy, Debug)]
pub struct NodeFields {
    /// Of the address.
    pub rtp_address: &'static str,
    /// Of the first port.
    pub rtp_port_min: &'static str,
    /// Of the last port.
    pub rtp_port_max: &'static str,
}

/// Of `RegisterNodeRequest.node`.
pub(crate) const NODE: NodeFields = NodeFields {
    rtp_address: "node.rtp_address",
    rtp_port_min: "node.rtp_port_min",
    rtp_port_max: "node.rtp_port_max",
};

/// Of `AllocatePortRequest.reassert`.
pub(crate) const REASSERT: LeaseFields =
    LeaseFields { stream_key: "reassert.stream_key", rtp_port: "reassert.rtp_port" };

fn system_time(timestamp: Option<proto::Timestamp>) -> SystemTime {
    let since = timestamp.map(|t| proto::Duration { seconds: t.seconds, nanos: t.nanos });
    SystemTime::UNIX_EPOCH.checked_add(std_duration(since)).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn stream_key(field: &'static str, text: &str) -> Result<StreamKey, RegistryError> {
    StreamKey::parse(text).map_err(|error| invalid(field, error))
}

fn port(field: &'static str, port: u32) -> Result<u16, RegistryError> {
    u16::try_from(port).map_err(|_| invalid(field, format!("{port} is not a port")))
}

/// A lease as the API shows it.
pub fn lease_to_proto(lease: Lease) -> v1::Lease {
    v1::Lease {
        lease_id: lease.id.0,
        stream_key: lease.stream_key.to_string(),
        node_id: lease.node_id,
        rtp_port: lease.rtp_port.into(),
        epoch: lease.epoch,
        owner_id: lease.owner_id,
        ttl: Some(duration(lease.ttl)),
    }
}

/// A lease out of a request, whose fields are called `fields` where they cannot be.
pub fn lease_from_proto(lease: v1::Lease, fields: &LeaseFields) -> Result<Lease, RegistryError> {
    Ok(Lease {
        id: LeaseId(lease.lease_id),
        stream_key: stream_key(fields.stream_key, &lease.stream_key)?,
        node_id: lease.node_id,
        rtp_port: port(fields.rtp_port, lease.rtp_port)?,
        epoch: lease.epoch,
        owner_id: lease.owner_id,
        ttl: std_duration(lease.ttl),
    })
}

/// What a node announces, as the API shows it.
pub fn info_to_proto(info: NodeInfo) -> v1::Node {
    v1::Node {
        node_id: info.id,
        rtp_address: info.rtp_address.to_string(),
        rtp_port_min: info.rtp_port_min.into(),
        rtp_port_max: info.rtp_port_max.into(),
        rtsp_url: info.rtsp_url,
        grpc_url: info.grpc_url,
        leases: 0,
        registered_at: None,
        draining: info.draining,
    }
}

pub(crate) fn node_to_proto(node: Node) -> v1::Node {
    v1::Node {
        leases: node.leases,
        registered_at: Some(timestamp(node.registered_at)),
        ..info_to_proto(node.info)
    }
}

/// What a node announces out of a request, whose fields are called `fields` where they cannot be.
pub fn info_from_proto(node: v1::Node, fields: &NodeFields) -> Result<NodeInfo, RegistryError> {
    let rtp_address: IpAddr = node.rtp_address.parse().map_err(|_| {
        invalid(fields.rtp_address, format!("{:?} is not an IP address", node.rtp_address))
    })?;
    Ok(NodeInfo {
        id: node.node_id,
        rtp_address,
        rtp_port_min: port(fields.rtp_port_min, node.rtp_port_min)?,
        rtp_port_max: port(fields.rtp_port_max, node.rtp_port_max)?,
        rtsp_url: node.rtsp_url,
        grpc_url: node.grpc_url,
        draining: node.draining,
    })
}

pub(crate) fn node_from_proto(node: v1::Node) -> Result<Node, RegistryError> {
    let (leases, registered_at) = (node.leases, system_time(node.registered_at));
    Ok(Node { info: info_from_proto(node, &NODE)?, leases, registered_at })
}

/// The lease and node of a response.
pub(crate) fn grant_from_proto(
    lease: Option<v1::Lease>,
    node: Option<v1::Node>,
) -> Result<Grant, RegistryError> {
    let (Some(lease), Some(node)) = (lease, node) else { return Err(nonsense("no grant")) };
    Ok(Grant { lease: answered_lease(lease)?, node: answered_node(node)? })
}

pub(crate) fn answered_lease(lease: v1::Lease) -> Result<Lease, RegistryError> {
    lease_from_proto(lease, &REASSERT).map_err(nonsense)
}

pub(crate) fn answered_node(node: v1::Node) -> Result<Node, RegistryError> {
    node_from_proto(node).map_err(nonsense)
}

/// A registry that answers what cannot be is as good as none.
pub(crate) fn nonsense(problem: impl std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable(format!("it answered nonsense: {problem}"))
}

/// The message of an event. `in_snapshot` says that it was there when the watch began.
pub(crate) fn event_to_proto(event: WatchEvent, in_snapshot: bool) -> v1::WatchResponse {
    use v1::RegistryEvent as E;
    let added = if in_snapshot { E::Snapshot } else { E::Added };
    let ended = |expired| if expired { E::Expired } else { E::Released };
    let node = |node| Some(Subject::Node(node_to_proto(node)));
    let lease = |lease| Some(Subject::Lease(lease_to_proto(lease)));
    let (event, subject) = match event {
        WatchEvent::SnapshotEnd => (E::SnapshotEnd, None),
        WatchEvent::NodeAdded(n) => (added, node(n)),
        WatchEvent::NodeChanged(n) => (E::Changed, node(n)),
        WatchEvent::NodeRemoved { node: n, expired } => (ended(expired), node(n)),
        WatchEvent::LeaseAdded(l) => (added, lease(l)),
        WatchEvent::LeaseChanged(l) => (E::Changed, lease(l)),
        WatchEvent::LeaseRemoved { lease: l, expired } => (ended(expired), lease(l)),
    };
    v1::WatchResponse { event: event.into(), subject }
}

pub(crate) fn event_from_proto(response: v1::WatchResponse) -> Result<WatchEvent, RegistryError> {
    use v1::RegistryEvent as E;
    let event = response.event();
    let expired = event == E::Expired;
    match (event, response.subject) {
        (E::SnapshotEnd, _) => Ok(WatchEvent::SnapshotEnd),
        (E::Unspecified, _) | (_, None) => Err(nonsense("an event without a meaning")),
        (E::Snapshot | E::Added, Some(Subject::Node(node))) => {
            Ok(WatchEvent::NodeAdded(answered_node(node)?))
        }
        (E::Changed, Some(Subject::Node(node))) => {
            Ok(WatchEvent::NodeChanged(answered_node(node)?))
        }
        (E::Released | E::Expired, Some(Subject::Node(node))) => {
            Ok(WatchEvent::NodeRemoved { node: answered_node(node)?, expired })
        }
        (E::Snapshot | E::Added, Some(Subject::Lease(lease))) => {
            Ok(WatchEvent::LeaseAdded(answered_lease(lease)?))
        }
        (E::Changed, Some(Subject::Lease(lease))) => {
            Ok(WatchEvent::LeaseChanged(answered_lease(lease)?))
        }
        (E::Released | E::Expired, Some(Subject::Lease(lease))) => {
            Ok(WatchEvent::LeaseRemoved { lease: answered_lease(lease)?, expired })
        }
    }
}
