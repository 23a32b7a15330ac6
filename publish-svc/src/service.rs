//! Config → bind → run.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join;
use proto::v1::{
    registry_server::SERVICE_NAME as REGISTRY,
    stream_control_server::{SERVICE_NAME as STREAM_CONTROL, StreamControlServer},
};
use registry::{Engine, LeaseKeeper, LostLease, NodeInfo, NodeKeeper};
use svc_core::{
    config::Config, drain::Shutdown, grpc, http, local_address_towards, metrics::Metrics,
    process_id, tasks::Tasks,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{Instrument, info, warn};

use crate::{
    book::Book,
    control::{Context, Control},
    demand::{Demand, DemandConfig},
    feeds::FeedContext,
    leases,
    leg::{LegSettings, Ports},
    metrics::Instruments,
    rtsp,
    streams::Streams,
};

/// Lost leases that wait to be told to their streams; the keeper waits when there are more.
const MAX_LOST: usize = 1024;

/// How long before the end of the drain the streams are moved that still have readers: a leg takes some ms, 1,000 of them some s.
const MOVING: Duration = Duration::from_secs(3);
/// How long streams and readers may take to end once they have to.
const LAST_WORDS: Duration = Duration::from_millis(1500);
/// How long it may take to take the node out of the registry.
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// What serves a port.
type Serve = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The bound service.
pub struct Publish {
    addresses: Addresses,
    book: Book,
    rtsp: rtsp::Server,
    servers: [(&'static str, Serve); 2],
    keeping: Keeping,
    node: NodeInfo,
    engine: Arc<dyn Engine>,
    control: Control,
    tasks: Tasks,
    drain_grace: Duration,
    /// Nothing begins on the node any more, and streams are made elsewhere.
    leaving: CancellationToken,
    /// Of streams and readers.
    shutdown: Shutdown,
    /// Of the gRPC and HTTP ports, which outlive the drain.
    ports: Shutdown,
}

/// Where the service listens, ports 0 resolved.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// RTSP.
    pub rtsp: SocketAddr,
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
    /// The registry's URL is none.
    #[error("registry.url = {url:?}: {source}")]
    Registry {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: registry::RegistryError,
    },
    /// A file cannot be read.
    #[error("{key} = {path:?}: {source}")]
    File {
        /// The config key.
        key: &'static str,
        /// Its value.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("etcd.cert_file and etcd.key_file: one needs the other")]
    HalfAnIdentity,
    /// There is an etcd to use, and no client of it in this binary.
    #[error(
        "etcd.endpoints = {endpoints:?}: this binary was built without etcd (cargo build --features etcd)"
    )]
    BuiltWithoutEtcd {
        /// The endpoints.
        endpoints: String,
    },
}

/// The one renewal of the leases that the node took itself.
struct Keeping {
    keeper: LeaseKeeper,
    keep: Serve,
    lost: mpsc::Receiver<LostLease>,
    stop: CancellationToken,
}

impl Keeping {
    fn new(config: &Config, engine: &Arc<dyn Engine>, node_id: &str) -> Self {
        let ((lost_sender, lost), stop) = (mpsc::channel(MAX_LOST), CancellationToken::new());
        let url = config.publish.advertise_grpc_url.clone();
        let (keeper, keep) =
            LeaseKeeper::new(engine.clone(), node_id.to_owned(), url, lost_sender, stop.clone());
        Self { keeper, keep: Box::pin(keep), lost, stop }
    }
}

impl Publish {
    /// Takes all sockets. The registry is served from memory unless `config` names an etcd or another registry, which need not
    /// be there yet.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let metrics = Metrics::new("publish-svc");
        let (tasks, instruments) = (Tasks::new(&metrics), Instruments::new(&metrics));
        let (shutdown, ports) = (Shutdown::new(), Shutdown::new());
        let (book, leaving) = (Book::of(config), CancellationToken::new());
        let engine = book.engine(config)?;
        // The RTSP server needs the streams, which need the RTSP port: so the port is taken first.
        let sockets = rtsp::Sockets::bind(&config.rtsp).await?;
        let mut node = node_info(config, sockets.address().port());
        let streams = Arc::new(Streams::new(node.rtsp_url.clone(), instruments.streams.clone()));
        let demand = Demand::new(
            DemandConfig::new(config, &node.id),
            engine.clone(),
            streams.clone(),
            (tasks.clone(), leaving.clone()),
            instruments.clone(),
        );
        let rtsp = rtsp::Server::new(
            sockets,
            &config.rtsp,
            demand.clone(),
            tasks.clone(),
            instruments.clone(),
        );
        let keeping = Keeping::new(config, &engine, &node.id);
        let control = Control::new(Context {
            node_id: node.id.clone(),
            ports: Ports::new(config, instruments.leg_sockets.clone()),
            legs: LegSettings::new(config),
            ring: config.ring.clone(),
            hold: config.publish.hold,
            keeper: keeping.keeper.clone(),
            tasks: tasks.clone(),
            leaving: leaving.clone(),
            shutdown: shutdown.clone(),
            streams,
            demand,
            feeds: FeedContext::new(config, &tasks, &instruments),
            metrics: instruments,
        });
        let (grpc, serve_grpc) =
            serve_grpc(config, &metrics, &control, &engine, ports.clone()).await?;
        let (http, serve_http) = serve_http(config, metrics, ports.clone()).await?;
        if node.grpc_url.is_empty() {
            node.grpc_url = format!("http://{}", SocketAddr::new(node.rtp_address, grpc.port()));
        }
        keeping.keeper.announce_at(&node.grpc_url);
        Ok(Self {
            addresses: Addresses { rtsp: rtsp.address(), grpc, http },
            book,
            rtsp,
            servers: [("grpc", serve_grpc), ("http", serve_http)],
            keeping,
            node,
            engine,
            control,
            tasks,
            drain_grace: config.publish.drain_grace,
            leaving,
            shutdown,
            ports,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Where its lease book is.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Serves until drained or cut. Draining: nothing begins on the node any more, and its streams are made on other nodes; readers are waited for
    /// until `publish.drain_grace` is nearly over. Then streams and readers are ended, the node is taken out of the registry, and the gRPC and HTTP
    /// ports close.
    pub async fn run(self, shutdown: Shutdown) {
        let servers = self.servers.map(|(name, serve)| {
            tokio::spawn(serve.instrument(tracing::info_span!("server", port = name)))
        });
        let Keeping { keep, lost, stop: stop_keeping, .. } = self.keeping;
        let keeping = tokio::spawn(keep);
        let (registered, _) = watch::channel(false);
        let (announced, node) = watch::channel(self.node.clone());
        let (engine, stop) = (self.engine.clone(), stop_keeping.clone());
        let announcing = tokio::spawn(NodeKeeper::run(engine, node, registered, stop));
        let (leaving, ending) = (self.leaving.clone(), self.shutdown.clone());
        self.tasks.spawn("rtsp", self.rtsp.run(leaving, ending));
        let (engine, control) = (self.engine.clone(), self.control.clone());
        let follow = leases::follow(engine, self.node.id.clone(), control, lost);
        let draining = self.shutdown.draining().clone();
        self.tasks.spawn("leases", async move {
            tokio::select! {
                () = draining.cancelled() => {}
                () = follow => {}
            }
        });

        shutdown.draining().cancelled().await;
        info!("publish-svc drains");
        self.ports.start_drain();
        self.leaving.cancel();
        let until = Instant::now() + self.drain_grace;
        let leave = leave(&self.engine, &self.control, &announced, self.drain_grace);
        tokio::select! {
            () = leave => {}
            () = sleep_until(until) => {}
            () = shutdown.cutting().cancelled() => {}
        }
        self.shutdown.start_drain();
        let ended = async {
            self.control.end_all().await;
            self.tasks.join().await;
        };
        tokio::select! {
            () = ended => info!("publish-svc is drained"),
            () = sleep_until(until.max(Instant::now() + LAST_WORDS)) => warn!("publish-svc is cut: the drain took too long"),
            () = shutdown.cutting().cancelled() => warn!("publish-svc is cut"),
        }
        stop_keeping.cancel();
        let _ = timeout(LAST_RELEASE, join(keeping, announcing)).await;
        self.shutdown.cut();
        self.ports.cut();
        for server in servers {
            let _ = server.await;
        }
    }
}

/// Says that the node is about to go, and has its streams made elsewhere.
async fn leave(
    engine: &Arc<dyn Engine>,
    control: &Control,
    announced: &watch::Sender<NodeInfo>,
    grace: Duration,
) {
    let latest = Instant::now() + (grace - MOVING.min(grace / 2));
    // Said here, too, since nothing is to be moved before the registry knows it.
    let node = NodeInfo { draining: true, ..announced.borrow().clone() };
    announced.send_replace(node.clone());
    if let Err(error) = engine.register_node(node).await {
        warn!(%error, "it cannot be announced that the node drains");
    }
    control.move_away(latest).await;
}

fn refused(key: &'static str, address: SocketAddr) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Bind { key, address, source }
}

/// StreamControl and the Registry on the gRPC port.
async fn serve_grpc(
    config: &Config,
    metrics: &Metrics,
    control: &Control,
    engine: &Arc<dyn Engine>,
    ports: Shutdown,
) -> Result<(SocketAddr, Serve), StartError> {
    let listen = config.publish.grpc_listen;
    let routes = Routes::new(StreamControlServer::new(control.clone()))
        .add_service(registry::service(engine.clone()));
    let services = &[STREAM_CONTROL, REGISTRY];
    let (address, serve) = grpc::bind(listen, metrics, routes, services, ports)
        .await
        .map_err(refused("publish.grpc_listen", listen))?;
    Ok((address, Box::pin(serve)))
}

/// Metrics and probes on the HTTP port.
async fn serve_http(
    config: &Config,
    metrics: Metrics,
    ports: Shutdown,
) -> Result<(SocketAddr, Serve), StartError> {
    let listen = config.publish.http_listen;
    let (address, serve) = http::bind(listen, metrics, axum::Router::new(), ports)
        .await
        .map_err(refused("publish.http_listen", listen))?;
    Ok((address, Box::pin(serve)))
}

/// What the node announces. Its gRPC URL stays empty where the port has to be known for it.
fn node_info(config: &Config, rtsp_port: u16) -> NodeInfo {
    let rtp_address = announced_address(config);
    NodeInfo {
        id: process_id(&config.publish.node_id, "node"),
        rtp_address,
        rtp_port_min: config.publish.rtp_port_min,
        rtp_port_max: config.publish.rtp_port_max,
        rtsp_url: match config.publish.advertise_rtsp_url.as_str() {
            "" => format!("rtsp://{}", SocketAddr::new(rtp_address, rtsp_port)),
            url => url.trim_end_matches('/').to_owned(),
        },
        grpc_url: config.publish.advertise_grpc_url.clone(),
        draining: false,
    }
}

/// The configured address, or the local one towards the registry, or this host's loopback where the registry is here.
fn announced_address(config: &Config) -> IpAddr {
    let configured = config.publish.rtp_address;
    if !configured.is_unspecified() {
        return configured;
    }
    let bound = config.publish.rtp_bind_address;
    if !bound.is_unspecified() {
        return bound;
    }
    let towards = Book::of(config).urls().and_then(local_address_towards);
    towards.unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

#[cfg(test)]
mod tests;
