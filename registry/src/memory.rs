//! The in-memory engine: a [`Book`] behind one lock that no call holds longer than it takes to turn a page.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use media::StreamKey;

use crate::{
    Claim, Engine, Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, StreamOwner, WatchEvent,
    book::Book, changes::Changes, engine::Watch,
};

/// How late the end of what expired may be told to watchers. Calls never see what has expired.
const EXPIRY_TICK: Duration = Duration::from_millis(500);
/// 2025-01-01T00:00:00Z. Epochs begin at the seconds since then.
const EPOCH_ZERO: Duration = Duration::from_secs(1_735_689_600);

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// How long a lease or node lives without a renewal. 10 s
    pub ttl: Duration,
    /// How long a rejected port is set aside. 60 s
    pub rejected_port_rest: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), rejected_port_rest: Duration::from_secs(60) }
    }
}

/// The lease book in this process's memory.
pub struct MemoryEngine {
    state: Mutex<State>,
    changes: Changes,
    expiry: tokio::task::AbortHandle,
}

struct State {
    book: Book,
    /// What a test has added to the clock.
    ahead: Duration,
}

impl MemoryEngine {
    /// An empty book; spawns its expiry task on the current runtime, which ends with it.
    pub fn new(config: MemoryConfig) -> Arc<Self> {
        let since_zero = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + EPOCH_ZERO);
        Self::with_epochs_above(since_zero.map_or(0, |since| since.as_secs()), config)
    }

    /// As [`Self::new`], with epochs that begin above `last_epoch`.
    pub(crate) fn with_epochs_above(last_epoch: u64, config: MemoryConfig) -> Arc<Self> {
        let book = Book::new(config, rand::random(), last_epoch);
        Arc::new_cyclic(|engine| Self {
            state: Mutex::new(State { book, ahead: Duration::ZERO }),
            changes: Changes::new(),
            expiry: tokio::spawn(tell_expired(engine.clone())).abort_handle(),
        })
    }

    /// Puts the engine's clock forward.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        self.lock().ahead += by;
        self.with(|_, _| ());
    }

    /// One turn of the book: what has expired goes first, and watchers are told of all that changed.
    fn with<T>(&self, turn: impl FnOnce(&mut Book, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = tokio::time::Instant::now().into_std() + state.ahead;
        state.book.expire(now);
        let result = turn(&mut state.book, now);
        // Sent under the lock, so that watchers see changes in the order in which they were made.
        for event in state.book.take_events() {
            self.changes.tell(event);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is our bug; the other streams' leases are worth more than its consistency.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryEngine {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

async fn tell_expired(engine: Weak<MemoryEngine>) {
    loop {
        tokio::time::sleep(EXPIRY_TICK).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.with(|_, _| ());
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        self.with(|book, now| book.register_node(node, now, SystemTime::now()).map(|()| book.ttl()))
    }

    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        self.with(|book, now| book.keep_alive(node_id, now).map(|()| book.ttl()))
    }

    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        self.with(|book, _| book.deregister_node(node_id))
    }

    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        self.with(|book, now| book.allocate_port(claim, now))
    }

    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        self.with(|book, now| Ok((book.renew_leases(owner_id, leases, now)?, book.ttl())))
    }

    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        self.with(|book, _| book.release_port(lease))
    }

    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        self.with(|book, now| book.reject_port(lease, now))
    }

    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        self.with(|book, _| book.lookup_stream(key))
    }

    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        Ok(self.with(|book, _| book.list_nodes()))
    }

    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        Ok(self.with(|book, _| book.list_leases()))
    }

    async fn watch(&self) -> Result<Watch, RegistryError> {
        // What expired is told before the snapshot is taken.
        self.with(|_, _| ());
        let state = self.lock();
        let nodes = state.book.list_nodes().into_iter().map(WatchEvent::NodeAdded);
        let leases = state.book.list_leases().into_iter().map(WatchEvent::LeaseAdded);
        self.changes.watch(nodes.chain(leases).collect())
    }
}

#[cfg(test)]
mod tests;
