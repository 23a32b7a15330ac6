//! Keeps what a process holds: one renewal for all its leases, one for its node.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use media::StreamKey;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Claim, Engine, Grant, Lease, LeaseId, NodeInfo, RegistryError, StreamOwner};

/// How soon a renewal is tried again while the registry cannot be reached.
const RETRY: Duration = Duration::from_millis(500);
/// The shortest pause between renewals: a TTL of zero, which only a faulty registry answers, must not make a loop without rest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether there is anything to renew.
const IDLE: Duration = Duration::from_secs(1);
/// How long the last releases may take when the process stops.
const LAST_RELEASE: Duration = Duration::from_secs(2);

/// A lease that this process held and that is another's now, or whose node is gone: stop using the port at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostLease {
    /// The lease.
    pub id: LeaseId,
    /// Its stream.
    pub stream_key: StreamKey,
}

/// All leases of one owner, renewed by one call every third of the TTL. With the registry gone it goes on trying, and re-asserts what the registry
/// forgot (a restart of the in-memory engine) when it is back; only what cannot be re-asserted is lost. A node that the registry does not
/// know, and of which the owner has not heard either, has one TTL to come back before its leases are.
#[derive(Clone)]
pub struct LeaseKeeper {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    owner_id: String,
    owner_grpc_url: RwLock<String>,
    book: Mutex<Kept>,
    /// One call that changes the book at a time, so that a release and a claim of one stream keep their order.
    order: tokio::sync::Mutex<()>,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct Kept {
    leases: HashMap<LeaseId, Lease>,
    /// When each node of these was last heard of by the owner itself.
    heard: HashMap<String, Instant>,
    /// To be released; each until its TTL has passed.
    releasing: Vec<(LeaseId, Instant)>,
}

impl Kept {
    /// As long as it has a lease, a node's last sign of life is kept; the grant of one is the first.
    fn heard_now(&mut self, node_id: &str) {
        let nodes: HashSet<_> = self.leases.values().map(|lease| lease.node_id.as_str()).collect();
        self.heard.retain(|node_id, _| nodes.contains(node_id.as_str()));
        self.heard.insert(node_id.to_owned(), Instant::now());
    }
}

/// From one renewal to the next: two may fail before the TTL has passed.
fn pause(ttl: Duration) -> Duration {
    (ttl / 3).max(SHORTEST_PAUSE)
}

impl Shared {
    /// When the next renewal is due at the latest, for the leases that were granted since the last.
    fn pause(&self) -> Duration {
        self.book().leases.values().map(|lease| pause(lease.ttl)).min().unwrap_or(IDLE)
    }

    fn heard_within(&self, node_id: &str, time: Duration) -> bool {
        self.book().heard.get(node_id).is_some_and(|heard| heard.elapsed() < time)
    }

    /// A claim of the owner.
    fn claim(&self, stream_key: &StreamKey, node_id: Option<&str>) -> Claim {
        let url = self.owner_grpc_url.read().unwrap_or_else(PoisonError::into_inner);
        Claim {
            stream_key: stream_key.clone(),
            owner_id: self.owner_id.clone(),
            owner_grpc_url: url.clone(),
            node_id: node_id.map(str::to_owned),
            reassert: None,
            supersede: None,
        }
    }

    fn book(&self) -> MutexGuard<'_, Kept> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseKeeper {
    /// A keeper for `owner_id`, and a future that renews until `stop` is cancelled, whereupon it releases all. Lost leases are told on `lost`.
    pub fn new(
        engine: Arc<dyn Engine>,
        owner_id: String,
        owner_grpc_url: String,
        lost: mpsc::Sender<LostLease>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared {
            engine,
            owner_id,
            owner_grpc_url: RwLock::new(owner_grpc_url),
            book: Mutex::default(),
            order: tokio::sync::Mutex::default(),
            changed: tokio::sync::Notify::new(),
        });
        (Self { shared: shared.clone() }, keep(shared, lost, stop))
    }

    /// The owner that it keeps for.
    pub fn owner_id(&self) -> &str {
        &self.shared.owner_id
    }

    /// Says where the owner's StreamControl is called, for the claims from now on: its port is known only once it is bound.
    pub fn announce_at(&self, url: &str) {
        let mut announced =
            self.shared.owner_grpc_url.write().unwrap_or_else(PoisonError::into_inner);
        url.clone_into(&mut announced);
    }

    /// Where the owner's StreamControl is called; may be empty.
    pub fn announced_at(&self) -> String {
        self.shared.owner_grpc_url.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who has a stream.
    pub async fn lookup(&self, stream_key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        self.shared.engine.lookup_stream(stream_key).await
    }

    /// Claims a stream, on `node_id` or the least loaded node, and keeps the lease from now on.
    pub async fn allocate(
        &self,
        stream_key: &StreamKey,
        node_id: Option<&str>,
    ) -> Result<Grant, RegistryError> {
        self.grant(self.shared.claim(stream_key, node_id)).await
    }

    /// Claims a stream in place of another owner's claim of that epoch, as [`Self::allocate`] does.
    pub async fn supersede(
        &self,
        stream_key: &StreamKey,
        epoch: u64,
    ) -> Result<Grant, RegistryError> {
        let claim = self.shared.claim(stream_key, None);
        self.grant(Claim { supersede: Some(epoch), ..claim }).await
    }

    async fn grant(&self, claim: Claim) -> Result<Grant, RegistryError> {
        let shared = &self.shared;
        let _order = shared.order.lock().await;
        release_pending(shared).await;
        let grant = shared.engine.allocate_port(claim).await?;
        self.keep_grant(&grant);
        Ok(grant)
    }

    /// Rejects the port and keeps the lease under its new one. Refused for want of a port, the lease has ended and is
    /// kept no more.
    pub async fn reject(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        let _order = self.shared.order.lock().await;
        let rejected = self.shared.engine.reject_port(lease).await;
        let mut book = self.shared.book();
        match &rejected {
            Ok(grant) => {
                // One that was released meanwhile stays so.
                if let Some(kept) = book.leases.get_mut(lease) {
                    kept.clone_from(&grant.lease);
                    book.heard_now(&grant.lease.node_id);
                }
            }
            Err(
                RegistryError::NoPort(_) | RegistryError::NoNode | RegistryError::UnknownLease(_),
            ) => {
                book.leases.remove(lease);
            }
            Err(_that_leaves_it_open) => {}
        }
        rejected
    }

    /// The owner has heard from the node of its leases just now, as by a Receiver Report: the node is there, and only cut off from the registry if that
    /// does not know it.
    pub fn heard_of(&self, node_id: &str) {
        let mut book = self.shared.book();
        if let Some(heard) = book.heard.get_mut(node_id) {
            *heard = Instant::now();
        }
    }

    fn keep_grant(&self, grant: &Grant) {
        let mut book = self.shared.book();
        book.releasing.retain(|(id, _)| *id != grant.lease.id);
        book.leases.insert(grant.lease.id.clone(), grant.lease.clone());
        book.heard_now(&grant.lease.node_id);
        drop(book);
        self.shared.changed.notify_one();
    }

    /// Stops keeping a lease and releases it (again and again in the background while the registry is gone, until its TTL has passed).
    pub fn release(&self, lease: &LeaseId) {
        let mut book = self.shared.book();
        if let Some(kept) = book.leases.remove(lease) {
            book.releasing.push((kept.id, Instant::now() + kept.ttl));
            drop(book);
            self.shared.changed.notify_one();
        }
    }
}

async fn keep(shared: Arc<Shared>, lost: mpsc::Sender<LostLease>, stop: CancellationToken) {
    let mut renewal = Instant::now();
    let mut missed = Missed::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = shared.changed.notified() => {}
            () = tokio::time::sleep_until(renewal) => {}
        }
        let order = shared.order.lock().await;
        let released = release_pending(&shared).await;
        drop(order);
        if Instant::now() >= renewal {
            renewal = Instant::now() + renew(&shared, &mut missed, &lost).await;
        }
        renewal = renewal.min(Instant::now() + shared.pause());
        if !released {
            renewal = renewal.min(Instant::now() + RETRY);
        }
    }
    let all: Vec<_> = shared.book().leases.keys().cloned().collect();
    let keeper = LeaseKeeper { shared: shared.clone() };
    all.iter().for_each(|id| keeper.release(id));
    let _ = timeout(LAST_RELEASE, release_pending(&shared)).await;
}

/// Whether nothing is left to release.
async fn release_pending(shared: &Shared) -> bool {
    let pending: Vec<_> = shared.book().releasing.clone();
    for (id, until) in pending {
        let gone = Instant::now() >= until || shared.engine.release_port(&id).await.is_ok();
        if !gone {
            return false;
        }
        shared.book().releasing.retain(|(other, _)| *other != id);
    }
    true
}

/// Leases whose node the registry does not know, each with the time at which that was found. A registry that
/// started again knows a node only when the node has renewed next.
type Missed = HashMap<LeaseId, Instant>;

/// Renews all at once; when to do it next.
async fn renew(shared: &Shared, missed: &mut Missed, lost: &mpsc::Sender<LostLease>) -> Duration {
    let ids: Vec<_> = shared.book().leases.keys().cloned().collect();
    if ids.is_empty() {
        return IDLE;
    }
    let (gone, ttl) = match shared.engine.renew_leases(&shared.owner_id, &ids).await {
        Ok((gone, ttl)) => (gone.into_iter().collect::<HashSet<_>>(), ttl),
        Err(error) => {
            tracing::warn!(%error, leases = ids.len(), "leases were not renewed; trying again");
            return RETRY;
        }
    };
    missed.retain(|id, _| gone.contains(id));
    let mut next = pause(ttl);
    for id in gone {
        let order = shared.order.lock().await;
        let Some(lease) = shared.book().leases.get(&id).cloned() else { continue };
        let reasserted = reassert(shared, &lease).await;
        // Whoever is told of a loss may be waiting for the order.
        drop(order);
        match reasserted {
            Ok(()) => {
                missed.remove(&id);
            }
            // The others would only wait for it, too.
            Err(RegistryError::Unavailable(_)) => return RETRY,
            // A node that stays away for longer than its TTL is gone, whatever the registry went through, but not one that
            // reports to us.
            Err(RegistryError::UnknownNode(_))
                if missed.entry(id.clone()).or_insert_with(Instant::now).elapsed() < ttl
                    || shared.heard_within(&lease.node_id, ttl) =>
            {
                next = next.min(RETRY);
            }
            Err(error) => {
                missed.remove(&id);
                lose(shared, lease, &error, lost).await;
            }
        }
    }
    next
}

async fn reassert(shared: &Shared, lease: &Lease) -> Result<(), RegistryError> {
    let claim = shared.claim(&lease.stream_key, Some(&lease.node_id));
    shared.engine.allocate_port(Claim { reassert: Some(lease.clone()), ..claim }).await?;
    tracing::info!(lease = %lease.id.0, stream = %lease.stream_key, "the lease was re-asserted");
    Ok(())
}

async fn lose(
    shared: &Shared,
    lease: Lease,
    error: &RegistryError,
    lost: &mpsc::Sender<LostLease>,
) {
    tracing::warn!(%error, lease = %lease.id.0, stream = %lease.stream_key, "the lease is lost");
    shared.book().leases.remove(&lease.id);
    // A receiver that is gone has no use for it.
    let _ = lost.send(LostLease { id: lease.id, stream_key: lease.stream_key }).await;
}

/// Announces a node and keeps the announcement: registers (again, whenever the registry does not know it), renews every third of the TTL, and
/// deregisters at the end.
pub struct NodeKeeper {}

impl NodeKeeper {
    /// A future that keeps the node announced, as `node` says it is, until `stop` is cancelled. `registered` turns true at each success and
    /// false when the registry is gone, and when the node has become another until that is announced.
    pub async fn run(
        engine: Arc<dyn Engine>,
        mut node: watch::Receiver<NodeInfo>,
        registered: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        loop {
            let info = node.borrow_and_update().clone();
            let id = info.id.clone();
            let renewed = if *registered.borrow() {
                engine.keep_alive(&id).await
            } else {
                engine.register_node(info).await
            };
            let pause = match renewed {
                Ok(ttl) => {
                    registered.send_replace(true);
                    pause(ttl)
                }
                Err(RegistryError::UnknownNode(_)) if *registered.borrow() => {
                    registered.send_replace(false);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, node = %id, "the node is not announced; trying again");
                    registered.send_replace(false);
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
                () = changed(&mut node) => {
                    registered.send_replace(false);
                }
            }
        }
        let id = node.borrow().id.clone();
        let _ = timeout(LAST_RELEASE, engine.deregister_node(&id)).await;
    }
}

/// Completes when the node has become another. Cancel safe.
async fn changed(node: &mut watch::Receiver<NodeInfo>) {
    if node.changed().await.is_err() {
        // It stays as it is.
        std::future::pending().await
    }
}

#[cfg(test)]
mod schedule;
#[cfg(test)]
mod tests;
