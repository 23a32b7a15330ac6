//! A leg before its first packet: its sockets, its key, and a node that has bound its port.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use media::{StreamKey, srtp::MasterKey};
use proto::v1;
use registry::{Lease, NodeInfo};
use svc_core::config::{HopConfig, RtpConfig};

use crate::{
    Instruments, Track,
    node::{self, NodeError},
    socket::LegSockets,
};

/// What the legs of one sender of a stream have in common.
pub struct Config {
    /// The stream.
    pub key: StreamKey,
    /// The CNAME of all tracks.
    pub cname: String,
    /// `[rtp]`
    pub rtp: RtpConfig,
    /// `[hop]`
    pub hop: HopConfig,
    /// What happens is counted here.
    pub metrics: Instruments,
}

/// Where a leg goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// What allows it.
    pub lease: Lease,
    /// The lease's node.
    pub node: NodeInfo,
}

/// What changes often on a leg.
#[derive(Default)]
pub struct LegStatus {
    /// The node has bound the port, and packets may flow.
    pub established: AtomicBool,
    /// RTP packets sent, modulo 2^32.
    pub packets_sent: AtomicU32,
    /// As the node reported it.
    pub fraction_lost: AtomicU32,
    /// In nanoseconds; 0: not known.
    pub round_trip_ns: AtomicU64,
    /// Receiver Reports, modulo 2^32.
    pub reports: AtomicU32,
}

impl LegStatus {
    /// Takes over what another sender says of the leg.
    pub fn adopt(&self, leg: &v1::Leg) {
        let trip =
            leg.round_trip_time.map_or(Duration::ZERO, |trip| proto::std_duration(Some(trip)));
        self.established.store(leg.established, Relaxed);
        self.packets_sent.store(leg.packets_sent, Relaxed);
        self.fraction_lost.store(leg.fraction_lost, Relaxed);
        self.round_trip_ns.store(u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.reports.store(leg.reports, Relaxed);
    }

    /// The leg as the API shows it.
    pub fn to_proto(&self, lease: &Lease, rtp_address: SocketAddr) -> v1::Leg {
        let round_trip = self.round_trip_ns.load(Relaxed);
        v1::Leg {
            node_id: lease.node_id.clone(),
            rtp_address: rtp_address.to_string(),
            lease: Some(registry::lease_to_proto(lease.clone())),
            established: self.established.load(Relaxed),
            packets_sent: self.packets_sent.load(Relaxed),
            fraction_lost: self.fraction_lost.load(Relaxed),
            round_trip_time: (round_trip > 0)
                .then(|| proto::duration(Duration::from_nanos(round_trip))),
            fed_by: String::new(),
            reports: self.reports.load(Relaxed),
        }
    }
}

/// Why a leg could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A socket towards the node cannot be had.
    #[error("node {node_id}, {address}: {source}")]
    Socket {
        /// The node.
        node_id: String,
        /// Where its RTP goes.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The node did not start the stream.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// See the module.
pub struct Opened {
    pub(crate) config: Arc<Config>,
    pub(crate) target: Target,
    pub(crate) sockets: Arc<LegSockets>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) status: Arc<LegStatus>,
    /// What its packets are sealed with.
    pub(crate) key: Option<MasterKey>,
}

impl Opened {
    /// Has the node of `target` take these tracks; it has bound its port when this is done. Bounded in time.
    pub async fn open(
        config: Arc<Config>,
        target: Target,
        tracks: Vec<Track>,
    ) -> Result<Self, OpenError> {
        let address = SocketAddr::new(target.node.rtp_address, target.lease.rtp_port);
        let sockets = LegSockets::connect(config.rtp.bind_address, address, &config.hop).await;
        let sockets = sockets.map_err(|source| OpenError::Socket {
            node_id: target.node.id.clone(),
            address,
            source,
        })?;
        // Of this leg alone: no two senders have one.
        let key = config.hop.srtp.then(|| MasterKey::new(rand::random()));
        let (sockets, status) = (Arc::new(sockets), Arc::default());
        let opened = Self { config, target, sockets, tracks, status, key };
        opened.tell(&opened.tracks).await?;
        Ok(opened)
    }

    /// Tells the node of further tracks, behind those that it knows of.
    pub async fn tell(&self, tracks: &[Track]) -> Result<(), NodeError> {
        node::start(self, tracks).await
    }

    /// Where RTP goes.
    pub fn rtp_address(&self) -> SocketAddr {
        self.sockets.rtp_address()
    }

    /// What changes often.
    pub fn status(&self) -> Arc<LegStatus> {
        self.status.clone()
    }

    /// Where it goes, and what allows it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many tracks the node was told of.
    pub fn track_count(&self) -> usize {
        self.tracks.len()
    }

    /// Where what happens is counted.
    pub fn metrics(&self) -> &Instruments {
        &self.config.metrics
    }
}
