//! What the lease book holds. Typed twins of the messages in `proto`.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use media::StreamKey;

/// Names a lease among all that ever were.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LeaseId(pub String);

/// The grant of one leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The stream.
    pub stream_key: StreamKey,
    /// The node.
    pub node_id: String,
    /// The even RTP port; RTCP is the next.
    pub rtp_port: u16,
    /// The epoch of the stream's owner.
    pub epoch: u64,
    /// The owner.
    pub owner_id: String,
    /// How long it lives without a renewal.
    pub ttl: Duration,
}

/// What a node announces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its id.
    pub id: String,
    /// Where it receives RTP.
    pub rtp_address: IpAddr,
    /// The first RTP port, even.
    pub rtp_port_min: u16,
    /// The last port of the range, RTCP included.
    pub rtp_port_max: u16,
    /// `rtsp://host:port`
    pub rtsp_url: String,
    /// `http://host:port`
    pub grpc_url: String,
    /// It keeps its leases and is granted no more.
    pub draining: bool,
}

/// A node in the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// What it announced.
    pub info: NodeInfo,
    /// Leases on it now.
    pub leases: u32,
    /// When it announced itself.
    pub registered_at: SystemTime,
}

/// A wish for a leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The stream to claim.
    pub stream_key: StreamKey,
    /// Who claims it.
    pub owner_id: String,
    /// Where the owner's StreamControl is called; may be empty.
    pub owner_grpc_url: String,
    /// The node wished for; `None`: the least loaded.
    pub node_id: Option<String>,
    /// A lease held before the registry lost it.
    pub reassert: Option<Lease>,
    /// The epoch of another owner's claim that ends by this one.
    pub supersede: Option<u64>,
}

/// A leg that was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The lease.
    pub lease: Lease,
    /// Its node.
    pub node: Node,
}

/// Who has a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamOwner {
    /// The owner.
    pub owner_id: String,
    /// Where its StreamControl is called; may be empty.
    pub owner_grpc_url: String,
    /// Its epoch.
    pub epoch: u64,
    /// The legs.
    pub leases: Vec<Lease>,
    /// Their nodes.
    pub nodes: Vec<Node>,
}
