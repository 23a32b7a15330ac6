//! The service without its ports, so that calls can be held up and cancelled where it hurts.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use registry::{
    Claim, Engine, Grant, MemoryConfig, MemoryEngine, Node, NodeInfo, RegistryError, StreamOwner,
    Watch,
};
use svc_core::{config::Config, metrics::Metrics};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Source, by_hand, free_ports};

const PATIENCE: Duration = Duration::from_secs(20);

/// The in-memory registry, whose grants wait until they are let through.
struct Gate {
    engine: Arc<MemoryEngine>,
    /// Allocations that were asked for, and those that may go on.
    asked: Semaphore,
    let_through: Semaphore,
    away: AtomicBool,
}

impl Gate {
    async fn new() -> Arc<Self> {
        let engine = MemoryEngine::new(MemoryConfig::default());
        let first = free_ports();
        let node = NodeInfo {
            id: "node-1".into(),
            rtp_address: [127, 0, 0, 1].into(),
            rtp_port_min: first,
            rtp_port_max: first + 7,
            rtsp_url: "rtsp://127.0.0.1:8554".into(),
            grpc_url: "http://127.0.0.1:50052".into(),
        };
        engine.register_node(node).await.unwrap();
        let (asked, let_through) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { engine, asked, let_through, away: AtomicBool::new(false) })
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

fn control(gate: &Arc<Gate>) -> Control {
    let config = Config::default();
    let tasks = Tasks::new(&Metrics::new("test"));
    let metrics = Instruments::default();
    let streams = Streams::new("rtsp://127.0.0.1:8554".into(), metrics.streams.clone());
    let (lost, _) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let (keeper, _) = LeaseKeeper::new(gate.clone(), "node-1".into(), String::new(), lost, stop);
    Control::new(Context {
        node_id: "node-1".into(),
        rtp_bind_address: [127, 0, 0, 1].into(),
        legs: LegSettings {
            reorder_window: config.rtp.reorder_window,
            silence: config.publish.leg_timeout,
            max_access_unit_bytes: config.ring.max_bytes,
        },
        ring: config.ring,
        keeper,
        tasks,
        metrics,
        shutdown: Shutdown::new(),
        streams: Arc::new(streams),
    })
}

async fn start(control: &Control, key: &str) -> Result<v1::Stream, Status> {
    let request = Request::new(by_hand(key, &Source::new(1)));
    let answer = tokio::time::timeout(PATIENCE, control.start_stream(request)).await;
    Ok(answer.expect("no answer")?.into_inner().stream.unwrap())
}

#[tokio::test]
async fn a_start_whose_caller_hangs_up_runs_to_its_end() {
    let gate = Gate::new().await;
    let control = control(&gate);
    let call = tokio::spawn({
        let control = control.clone();
        async move { start(&control, "a").await }
    });
    gate.asked.acquire().await.unwrap().forget();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.let_through.add_permits(1);
    // The second call waits for the first, finds what it left, and needs no port.
    let stream = start(&control, "a").await.unwrap();
    let leases = gate.list_leases().await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(stream.rtp_port, u32::from(leases[0].rtp_port));
    control.end_all().await;
    assert!(control.context.tasks.is_empty());
}

#[tokio::test]
async fn a_start_that_fails_after_its_caller_hung_up_leaves_nothing() {
    let gate = Gate::new().await;
    let control = control(&gate);
    let call = tokio::spawn({
        let control = control.clone();
        async move { start(&control, "a").await }
    });
    gate.asked.acquire().await.unwrap().forget();
    call.abort();
    gate.away.store(true, Ordering::Relaxed);
    gate.let_through.add_permits(2);
    let status = start(&control, "b").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(control.context.streams.list().is_empty());
    assert!(gate.list_leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_asked_for_before_the_drain_does_not_start_behind_it() {
    let gate = Gate::new().await;
    let control = control(&gate);
    control.context.shutdown.start_drain();
    control.end_all().await;
    gate.let_through.add_permits(1);
    let status = start(&control, "a").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(control.context.tasks.is_empty(), "a leg would hold up the drain");
    assert!(gate.list_leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_while_the_watcher_is_waited_for_is_told_later() {
    let gate = Gate::new().await;
    let control = control(&gate);
    gate.let_through.add_permits(2);
    start(&control, "a").await.unwrap();
    start(&control, "b").await.unwrap();
    let streams = control.context.streams.clone();
    // Room for one event: the next is made and waits.
    let (events, mut receiver) = mpsc::channel(1);
    let watching = tokio::spawn({
        let streams = streams.clone();
        async move { watch(&streams, &events).await }
    });
    while receiver.is_empty() {
        tokio::task::yield_now().await;
    }
    let key = StreamKey::parse("b").unwrap();
    streams.entry(&key).unwrap().status.touch();
    let mut next = async || {
        let event = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("not told");
        let event = event.unwrap().unwrap();
        (event.event(), event.stream.map(|stream| stream.stream_key).unwrap_or_default())
    };
    assert_eq!(next().await, (StreamEvent::Snapshot, "a".into()));
    assert_eq!(next().await, (StreamEvent::Snapshot, "b".into()));
    assert_eq!(next().await, (StreamEvent::SnapshotEnd, String::new()));
    assert_eq!(next().await, (StreamEvent::Changed, "b".into()));
    drop(receiver);
    tokio::time::timeout(PATIENCE, watching).await.expect("nobody listens").unwrap();
    control.end_all().await;
}
