//! The control plane without its ports, before a registry that can be made to wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use media::StreamKey;
use registry::{
    Claim, Engine, Grant, Lease, LeaseId, LeaseKeeper, MemoryConfig, MemoryEngine, Node, NodeInfo,
    RegistryError, StreamOwner, Watch,
};
use svc_core::{config::Config, drain::Shutdown, metrics::Metrics, tasks::Tasks};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::free_ports;
use crate::{
    control::{Context, Control},
    demand::{Demand, DemandConfig},
    feeds::FeedContext,
    leg::{LegSettings, Ports},
    metrics::Instruments,
    streams::Streams,
};

/// The in-memory registry, whose grants wait until they are let through.
pub(crate) struct Gate {
    engine: Arc<MemoryEngine>,
    /// Allocations that were asked for, and those that may go on.
    pub(crate) asked: Semaphore,
    pub(crate) let_through: Semaphore,
    /// No allocation is answered.
    pub(crate) away: AtomicBool,
}

impl Gate {
    /// With one node, "node-1".
    pub(crate) async fn new() -> Arc<Self> {
        // Nothing expires while a test runs.
        let ttl = Duration::from_secs(3600);
        let engine = MemoryEngine::new(MemoryConfig { ttl, rejected_port_rest: ttl });
        let first = free_ports();
        let node = NodeInfo {
            id: "node-1".into(),
            rtp_address: [127, 0, 0, 1].into(),
            rtp_port_min: first,
            rtp_port_max: first + 7,
            rtsp_url: "rtsp://127.0.0.1:8554".into(),
            grpc_url: "http://127.0.0.1:50052".into(),
            draining: false,
        };
        engine.register_node(node).await.unwrap();
        let (asked, let_through) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { engine, asked, let_through, away: AtomicBool::new(false) })
    }

    /// A control plane before it, whose leases nobody renews.
    pub(crate) fn control(self: &Arc<Self>) -> Control {
        let mut config = Config::default();
        config.publish.rtp_bind_address = [127, 0, 0, 1].into();
        let tasks = Tasks::new(&Metrics::new("test"));
        let metrics = Instruments::default();
        let streams = Streams::new("rtsp://127.0.0.1:8554".into(), metrics.streams.clone());
        let (streams, leaving) = (Arc::new(streams), CancellationToken::new());
        let demand = Demand::new(
            DemandConfig::new(&config, "node-1"),
            self.clone(),
            streams.clone(),
            (tasks.clone(), leaving.clone()),
            metrics.clone(),
        );
        let (lost, _) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (keeper, _) =
            LeaseKeeper::new(self.clone(), "node-1".into(), String::new(), lost, stop);
        Control::new(Context {
            node_id: "node-1".into(),
            ports: Ports::new(&config, metrics.leg_sockets.clone()),
            legs: LegSettings::new(&config),
            feeds: FeedContext::new(&config, &tasks, &metrics),
            ring: config.ring,
            hold: config.publish.hold,
            keeper,
            tasks,
            metrics,
            leaving,
            shutdown: Shutdown::new(),
            streams,
            demand,
        })
    }
}

#[async_trait]
impl Engine for Gate {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        self.engine.register_node(node).await
    }
    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        self.engine.keep_alive(node_id).await
    }
    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        self.engine.deregister_node(node_id).await
    }
    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        self.asked.add_permits(1);
        self.let_through.acquire().await.unwrap().forget();
        if self.away.load(Ordering::Relaxed) {
            return Err(RegistryError::Unavailable("it is away".into()));
        }
        self.engine.allocate_port(claim).await
    }
    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        self.engine.renew_leases(owner_id, leases).await
    }
    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        self.engine.release_port(lease).await
    }
    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        self.engine.reject_port(lease).await
    }
    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        self.engine.lookup_stream(key).await
    }
    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        self.engine.list_nodes().await
    }
    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        self.engine.list_leases().await
    }
    async fn watch(&self) -> Result<Watch, RegistryError> {
        self.engine.watch().await
    }
}
