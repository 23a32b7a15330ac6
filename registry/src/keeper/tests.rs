//! Keepers against a registry that can be away, start again and keep a call waiting, in paused time.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::*;
use crate::{MemoryConfig, MemoryEngine, Node, StreamOwner, Watch};

/// A third of it is whole seconds: timers go by milliseconds.
const TTL: Duration = Duration::from_secs(9);
/// More than any wait here takes; no real time goes by.
const LONG: Duration = Duration::from_secs(600);

/// A call as the registry saw it, answered or not.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Call {
    Register(String),
    KeepAlive(String),
    Deregister(String),
    Allocate(String),
    Reassert(LeaseId),
    Renew(Vec<LeaseId>),
    Release(LeaseId),
    Reject(LeaseId),
}

/// The registry of a test: the in-memory engine, which can be taken away, forget all and be made to wait.
struct Fake {
    ttl: Duration,
    engine: Mutex<Arc<MemoryEngine>>,
    away: AtomicBool,
    /// Releases do not get through.
    no_releases: AtomicBool,
    /// Reassertions wait until this can be had.
    reassertions: tokio::sync::Mutex<()>,
    calls: watch::Sender<Vec<(Instant, Call)>>,
}

fn memory(ttl: Duration) -> Arc<MemoryEngine> {
    MemoryEngine::new(MemoryConfig { ttl, rejected_port_rest: TTL })
}

impl Fake {
    fn new(ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            ttl,
            engine: Mutex::new(memory(ttl)),
            away: AtomicBool::new(false),
            no_releases: AtomicBool::new(false),
            reassertions: tokio::sync::Mutex::default(),
            calls: watch::Sender::new(Vec::new()),
        })
    }

    /// The engine of now, called past the log.
    fn engine(&self) -> Arc<MemoryEngine> {
        self.engine.lock().unwrap().clone()
    }

    /// Forgets all, as the in-memory engine does when its process starts again.
    fn restart(&self) {
        *self.engine.lock().unwrap() = memory(self.ttl);
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Relaxed);
    }

    /// Logs a call; the engine that answers it, if one does.
    fn called(&self, call: Call) -> Result<Arc<MemoryEngine>, RegistryError> {
        self.calls.send_modify(|calls| calls.push((Instant::now(), call)));
        if self.away.load(Relaxed) {
            return Err(RegistryError::Unavailable("it is away".into()));
        }
        Ok(self.engine())
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.borrow().iter().map(|(_, call)| call.clone()).collect()
    }

    /// Waits until `count` calls like `wanted` were made since the log was last cleared; when the last of them was.
    async fn until(&self, count: usize, wanted: impl Fn(&Call) -> bool) -> Instant {
        let mut calls = self.calls.subscribe();
        let enough =
            calls.wait_for(|calls| calls.iter().filter(|(_, call)| wanted(call)).count() >= count);
        let calls = match timeout(LONG, enough).await {
            Ok(calls) => calls.unwrap().clone(),
            Err(_) => panic!("of {:?} only", self.calls()),
        };
        let mut times = calls.iter().filter(|(_, call)| wanted(call)).map(|(at, _)| *at);
        times.nth(count - 1).unwrap()
    }

    fn clear(&self) {
        self.calls.send_modify(Vec::clear);
    }
}

#[async_trait]
impl Engine for Fake {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        self.called(Call::Register(node.id.clone()))?.register_node(node).await
    }

    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        self.called(Call::KeepAlive(node_id.into()))?.keep_alive(node_id).await
    }

    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        self.called(Call::Deregister(node_id.into()))?.deregister_node(node_id).await
    }

    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        let Some(lease) = &claim.reassert else {
            let call = Call::Allocate(claim.stream_key.to_string());
            return self.called(call)?.allocate_port(claim).await;
        };
        let engine = self.called(Call::Reassert(lease.id.clone()))?;
        let _turn = self.reassertions.lock().await;
        engine.allocate_port(claim).await
    }

    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        let mut sorted = leases.to_vec();
        sorted.sort();
        self.called(Call::Renew(sorted))?.renew_leases(owner_id, leases).await
    }

    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        let engine = self.called(Call::Release(lease.clone()))?;
        if self.no_releases.load(Relaxed) {
            return Err(RegistryError::Unavailable("no answer".into()));
        }
        engine.release_port(lease).await
    }

    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        self.called(Call::Reject(lease.clone()))?.reject_port(lease).await
    }

    async fn lookup_stream(&self, _: &StreamKey) -> Result<StreamOwner, RegistryError> {
        unreachable!("keepers do not look up")
    }

    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        unreachable!("keepers do not list")
    }

    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        unreachable!("keepers do not list")
    }

    async fn watch(&self) -> Result<Watch, RegistryError> {
        unreachable!("keepers do not watch")
    }
}

fn is_renewal(call: &Call) -> bool {
    matches!(call, Call::Renew(_))
}

fn is_reassertion(call: &Call) -> bool {
    matches!(call, Call::Reassert(_))
}

fn node() -> NodeInfo {
    NodeInfo {
        id: "n1".into(),
        rtp_address: IpAddr::from([127, 0, 0, 1]),
        rtp_port_min: 5004,
        rtp_port_max: 5103,
        rtsp_url: "rtsp://127.0.0.1:8554".into(),
        grpc_url: "http://127.0.0.1:50052".into(),
        draining: false,
    }
}

fn key(stream: &str) -> StreamKey {
    StreamKey::parse(stream).unwrap()
}

mod leases;
mod nodes;
