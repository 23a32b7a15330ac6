//! The RTSP server: readers of the node's streams.

mod closed;
mod connection;
mod entrance;
mod multicast;
mod output;
mod playback;
mod rtcp;
mod sending;
mod udp;
mod wire;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use svc_core::{config::RtspConfig, drain::Shutdown, tasks::Tasks};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    demand::Demand,
    metrics::{Counted, Instruments},
    service::StartError,
    stream::StreamSource,
};
use multicast::Multicast;
use udp::UdpPorts;
use wire::Tunnels;

/// How long the listener rests after a failed accept, such as for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The bound sockets.
pub(crate) struct Sockets {
    listener: TcpListener,
    address: SocketAddr,
    udp: Option<UdpPorts>,
    multicast: Option<Multicast>,
}

impl Sockets {
    /// Takes the TCP port and, with `rtsp.udp`, the pair of UDP ports for all UDP readers.
    pub(crate) async fn bind(config: &RtspConfig) -> Result<Self, StartError> {
        let address = config.listen;
        let refused = |source| StartError::Bind { key: "rtsp.listen", address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let udp_address = SocketAddr::new(address.ip(), config.rtp_port);
        let udp = if config.udp {
            let ports = UdpPorts::bind(udp_address).map_err(|source| StartError::Bind {
                key: "rtsp.rtp_port",
                address: udp_address,
                source,
            })?;
            Some(ports)
        } else {
            None
        };
        let multicast = Multicast::bind(config)?;
        Ok(Self { listener, address: bound, udp, multicast })
    }

    /// Where it listens, port 0 resolved.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What all connections share.
pub(crate) struct Shared {
    config: RtspConfig,
    streams: Arc<dyn StreamSource>,
    demand: Arc<Demand>,
    udp: Option<UdpPorts>,
    /// DESCRIBEs that may wait for a publisher at one time: half of the connections, so that the other half is left to streams that are
    /// there.
    waiters: Semaphore,
    tunnels: Tunnels,
    multicast: Option<Multicast>,
    tasks: Tasks,
    next_reader: AtomicU64,
    shutdown: Shutdown,
    metrics: Instruments,
}

impl Shared {
    /// Whence RTP goes to groups, or else to single readers.
    fn udp_ports(&self, multicast: bool) -> Option<&UdpPorts> {
        match &self.multicast {
            Some(groups) if multicast => Some(groups.ports()),
            Some(_) | None => self.udp.as_ref(),
        }
    }

    fn next_reader_id(&self) -> u64 {
        self.next_reader.fetch_add(1, Ordering::Relaxed)
    }
}

/// A connection's place among `rtsp.max_connections`, for as long as this lives.
struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// The RTSP server.
pub(crate) struct Server {
    sockets: Sockets,
    config: RtspConfig,
    demand: Arc<Demand>,
    tasks: Tasks,
    metrics: Instruments,
}

impl Server {
    /// The server of the node's streams, and of those that `demand` gets, on bound sockets.
    pub(crate) fn new(
        sockets: Sockets,
        config: &RtspConfig,
        demand: Arc<Demand>,
        tasks: Tasks,
        metrics: Instruments,
    ) -> Self {
        Self { sockets, config: config.clone(), demand, tasks, metrics }
    }

    /// Where it listens, port 0 resolved.
    pub(crate) fn address(&self) -> SocketAddr {
        self.sockets.address
    }

    /// Accepts until the node is `leaving`, and serves until the drain begins; each connection then ends by itself, with BYE to who plays.
    pub(crate) async fn run(self, leaving: CancellationToken, shutdown: Shutdown) {
        let max_connections = self.config.max_connections;
        let room = Arc::new(Semaphore::new(max_connections));
        let shared = Arc::new(Shared {
            config: self.config,
            streams: self.demand.streams(),
            demand: self.demand,
            udp: self.sockets.udp,
            waiters: Semaphore::new(max_connections.div_ceil(2)),
            tunnels: Tunnels::default(),
            multicast: self.sockets.multicast,
            tasks: self.tasks.clone(),
            next_reader: AtomicU64::new(1),
            shutdown: shutdown.clone(),
            metrics: self.metrics,
        });
        let rtcp = shared.clone();
        self.tasks.spawn("rtsp_udp", async move {
            if let Some(udp) = &rtcp.udp {
                tokio::select! {
                    () = udp.receive(&rtcp.metrics) => {}
                    () = rtcp.shutdown.draining().cancelled() => {}
                }
            }
        });
        loop {
            let accepted = tokio::select! {
                () = leaving.cancelled() => return,
                accepted = self.sockets.listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "an RTSP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                shared.metrics.turned_away.inc();
                tracing::warn!(%peer, "refused: rtsp.max_connections are there");
                continue;
            };
            let place = Place { _permit: permit, _counted: shared.metrics.connect() };
            let span = tracing::info_span!("rtsp", %peer);
            let serve = entrance::serve(socket, peer, shared.clone(), place);
            self.tasks.spawn("rtsp_connection", serve.instrument(span));
        }
    }
}
