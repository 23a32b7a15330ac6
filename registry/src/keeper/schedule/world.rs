//! The registry of a schedule, and the way to it: calls are late, get lost, or are cut off.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU32, Ordering},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{super::*, TTL};
use crate::{MemoryConfig, MemoryEngine, Node, StreamOwner, Watch};

/// The registry and the way to it.
pub(super) struct World {
    pub(super) began: Instant,
    pub(super) engine: Mutex<Arc<MemoryEngine>>,
    pub(super) rng: Mutex<StdRng>,
    pub(super) cut_off: Mutex<HashSet<String>>,
    /// How many calls of 100 get lost, half of them behind the registry.
    pub(super) loss: AtomicU32,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            engine: Mutex::new(memory(Instant::now())),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            cut_off: Mutex::default(),
            loss: AtomicU32::new(5),
        }
    }

    pub(super) fn random(&self, range: std::ops::Range<u32>) -> u32 {
        self.rng.lock().unwrap().random_range(range)
    }

    pub(super) fn engine(&self) -> Arc<MemoryEngine> {
        self.engine.lock().unwrap().clone()
    }

    fn is_cut_off(&self, who: &str) -> bool {
        self.cut_off.lock().unwrap().contains(who)
    }

    fn loses(&self) -> bool {
        self.random(0..100) < self.loss.load(Ordering::Relaxed)
    }
}

/// A registry that starts: its epochs begin at the seconds of the clock, which is the virtual one here.
pub(super) fn memory(began: Instant) -> Arc<MemoryEngine> {
    let seconds = 1000 + began.elapsed().as_secs();
    let config = MemoryConfig { ttl: TTL, rejected_port_rest: TTL };
    MemoryEngine::with_epochs_above(seconds, config)
}

/// The way of one process to the registry.
pub(super) struct Way {
    pub(super) world: Arc<World>,
    pub(super) who: &'static str,
}

impl Way {
    /// A call takes its time, and may be lost before the registry sees it, or its answer after.
    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Arc<MemoryEngine>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let gone = || RegistryError::Unavailable("no answer".to_owned());
        let late = Duration::from_millis(self.world.random(0..200).into());
        sleep(late).await;
        if self.world.is_cut_off(self.who) || self.world.loses() {
            sleep(Duration::from_secs(2)).await;
            return Err(gone());
        }
        let answer = call(self.world.engine()).await;
        sleep(late).await;
        if self.world.is_cut_off(self.who) || self.world.loses() {
            sleep(Duration::from_secs(2)).await;
            return Err(gone());
        }
        answer
    }
}

#[async_trait::async_trait]
impl Engine for Way {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        self.call(async |engine| engine.register_node(node).await).await
    }
    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        self.call(async |engine| engine.keep_alive(node_id).await).await
    }
    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        self.call(async |engine| engine.deregister_node(node_id).await).await
    }
    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        self.call(async |engine| engine.allocate_port(claim).await).await
    }
    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        self.call(async |engine| engine.renew_leases(owner_id, leases).await).await
    }
    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        self.call(async |engine| engine.release_port(lease).await).await
    }
    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        self.call(async |engine| engine.reject_port(lease).await).await
    }
    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        self.call(async |engine| engine.lookup_stream(key).await).await
    }
    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        self.call(async |engine| engine.list_nodes().await).await
    }
    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        self.call(async |engine| engine.list_leases().await).await
    }
    async fn watch(&self) -> Result<Watch, RegistryError> {
        self.call(async |engine| engine.watch().await).await
    }
}
