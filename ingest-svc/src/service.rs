//! Config → bind → run.

use std::{
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use proto::v1::stream_control_server::{SERVICE_NAME, StreamControlServer};
use registry::{Engine, LeaseKeeper, LostLease};
use svc_core::{
    config::{Config, RtmpConfig},
    drain::Shutdown,
    grpc, http, local_address_towards,
    metrics::Metrics,
    process_id,
    tasks::Tasks,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{Instrument, info, warn};

use crate::{
    control::Control,
    http::router,
    metrics::Instruments,
    pull::{PullContext, Trust},
    rtmp,
    stream::Context,
    streams::Table,
};

/// Lost leases that wait to be told to their streams; the keeper waits when there are more.
const MAX_LOST: usize = 1024;

/// How long streams may take to end once they have to: a publisher has 2 s to close after our last word. With [`LAST_RELEASE`] it is
/// what a process has left after the cut.
const LAST_WORDS: Duration = Duration::from_millis(2100);
/// How long the release of what they have left may take.
const LAST_RELEASE: Duration = Duration::from_millis(800);

/// What serves a port.
type Serve = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The bound service.
pub struct Ingest {
    addresses: Addresses,
    rtmp: TcpListener,
    rtmp_config: RtmpConfig,
    drain_grace: Duration,
    servers: [(&'static str, Serve); 2],
    keep_leases: Serve,
    stop_keeping: CancellationToken,
    lost: mpsc::Receiver<LostLease>,
    table: Arc<Table>,
    tasks: Tasks,
    /// Of the streams and publishers.
    shutdown: Shutdown,
    /// Of the gRPC and HTTP ports, which outlive the drain.
    ports: Shutdown,
}

/// Where the service listens, ports 0 resolved.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// RTMP.
    pub rtmp: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("{key} = {address}: {source}")]
    Bind {
        /// The config key.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The authorities of servers that streams are pulled from cannot be read.
    #[error("ingest.pull_ca_file = {path:?}: {source}")]
    PullCaFile {
        /// The path.
        path: String,
        /// What the system said, or what is wrong with the file.
        source: std::io::Error,
    },
    /// The registry's URL is none.
    #[error("registry.url = {url:?}: {source}")]
    Registry {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: registry::RegistryError,
    },
}

impl Ingest {
    /// Takes all sockets. `registry_url` is "http://host:port"; the registry need not be there yet.
    pub async fn bind(config: &Config, registry_url: &str) -> Result<Self, StartError> {
        let client = registry::Client::new(registry_url)
            .map_err(|source| StartError::Registry { url: registry_url.to_owned(), source })?;
        Self::bind_with(config, Arc::new(client)).await
    }

    /// Takes all sockets, over any lease book.
    pub(crate) async fn bind_with(
        config: &Config,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new("ingest-svc");
        let tasks = Tasks::new(&metrics);
        let (shutdown, ports) = (Shutdown::new(), Shutdown::new());
        let (lost_sender, lost) = mpsc::channel(MAX_LOST);
        let stop_keeping = CancellationToken::new();
        let (keeper, keep_leases) = LeaseKeeper::new(
            engine,
            process_id(&config.ingest.id, "ingest"),
            config.ingest.advertise_grpc_url.clone(),
            lost_sender,
            stop_keeping.clone(),
        );
        let announced = keeper.clone();
        let path = &config.ingest.pull_ca_file;
        let trust = Trust::read(path)
            .map_err(|source| StartError::PullCaFile { path: path.clone(), source })?;
        let pulls = PullContext { rtmp: Arc::new(config.rtmp.clone()), connect: Arc::new(trust) };
        let context = Context {
            ingest: config.ingest.clone(),
            rtp: config.rtp.clone(),
            hop: config.hop.clone(),
            keeper,
            tasks: tasks.clone(),
            metrics: Instruments::new(&metrics),
            shutdown: shutdown.clone(),
        };
        let table = Table::new(context, pulls);
        let control = Control::new(table.clone(), tasks.clone(), shutdown.clone());
        let listen = config.rtmp.listen;
        let rtmp = TcpListener::bind(listen).await.map_err(refused("rtmp.listen", listen))?;
        let rtmp_address = rtmp.local_addr().map_err(refused("rtmp.listen", listen))?;
        let listen = config.ingest.grpc_listen;
        let routes = Routes::new(StreamControlServer::new(control.clone()));
        let services = &[SERVICE_NAME];
        let (grpc, serve_grpc) = grpc::bind(listen, &metrics, routes, services, ports.clone())
            .await
            .map_err(refused("ingest.grpc_listen", listen))?;
        announce(config, &announced, grpc);
        let listen = config.ingest.http_listen;
        let (http, serve_http) = http::bind(listen, metrics, router(control), ports.clone())
            .await
            .map_err(refused("ingest.http_listen", listen))?;
        Ok(Self {
            addresses: Addresses { rtmp: rtmp_address, grpc, http },
            rtmp,
            rtmp_config: config.rtmp.clone(),
            drain_grace: config.ingest.drain_grace,
            servers: [("grpc", Box::pin(serve_grpc)), ("http", Box::pin(serve_http))],
            keep_leases: Box::pin(keep_leases),
            stop_keeping,
            lost,
            table,
            tasks,
            shutdown,
            ports,
        })
    }

    #[cfg(test)]
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Serves until drained or cut. Draining: no publisher is taken, those that are there are asked to go elsewhere and waited for, for
    /// `ingest.drain_grace` at the longest, then ended; leases are released, and the gRPC and HTTP ports close.
    pub async fn run(self, shutdown: Shutdown) {
        // The keeper and the ports outlive the streams, so they are joined by themselves.
        let keeping = tokio::spawn(self.keep_leases);
        let servers = self.servers.map(|(name, serve)| {
            tokio::spawn(serve.instrument(tracing::info_span!("server", port = name)))
        });
        let sink = self.table.clone();
        let rtmp = rtmp::serve(
            self.rtmp,
            self.rtmp_config,
            sink,
            self.tasks.clone(),
            self.shutdown.clone(),
        );
        self.tasks.spawn("rtmp_listener", rtmp);
        let (table, mut lost) = (self.table.clone(), self.lost);
        // Streams go on while the service drains, so this is not waited for.
        let losses = tokio::spawn(async move {
            while let Some(lost) = lost.recv().await {
                table.lease_lost(lost).await;
            }
        });

        shutdown.draining().cancelled().await;
        info!("ingest-svc drains");
        self.ports.start_drain();
        self.shutdown.start_drain();
        let mut ended = pin!(self.tasks.join());
        let drained = tokio::select! {
            () = &mut ended => true,
            () = tokio::time::sleep(self.drain_grace) => false,
            () = shutdown.cutting().cancelled() => false,
        };
        self.shutdown.cut();
        if drained {
            info!("ingest-svc is drained");
        } else if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            warn!("ingest-svc is cut: its streams did not end in time");
        } else {
            info!("ingest-svc has ended the publishers that did not leave in time");
        }
        losses.abort();
        self.stop_keeping.cancel();
        let _ = tokio::time::timeout(LAST_RELEASE, keeping).await;
        self.ports.cut();
        for server in servers {
            let _ = server.await;
        }
    }
}

/// Says where StreamControl is called, unless the configuration does.
fn announce(config: &Config, keeper: &LeaseKeeper, grpc: SocketAddr) {
    if config.ingest.advertise_grpc_url.is_empty() {
        keeper.announce_at(&format!("http://{}", announced_address(config, grpc)));
    }
}

/// Where the gRPC port is reached by other hosts: at the address that it, or RTP, is bound to, else at the local one towards the registry, or
/// at this host's loopback address where the registry is here.
fn announced_address(config: &Config, grpc: SocketAddr) -> SocketAddr {
    let bound = [grpc.ip(), config.rtp.bind_address].into_iter().find(|ip| !ip.is_unspecified());
    let ip = bound.or_else(|| local_address_towards(&config.registry.url));
    SocketAddr::new(ip.unwrap_or(IpAddr::from([127, 0, 0, 1])), grpc.port())
}

fn refused(key: &'static str, address: SocketAddr) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Bind { key, address, source }
}
