//! Keeps what a process holds: one renewal for all its leases, one for its node.

use std::sync::Arc;

use media::StreamKey;
use tokio::sync::mpsc;

use crate::{Claim, Engine, Grant, LeaseId, NodeInfo, RegistryError};

/// A lease that this process held and that is another's now, or whose node is gone: stop using the port at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostLease {
    /// The lease.
    pub id: LeaseId,
    /// Its stream.
    pub stream_key: StreamKey,
}

/// All leases of one owner, renewed by one call every third of the TTL. With the registry gone it goes on trying, and re-asserts what the registry
/// forgot (a restart of the in-memory engine) when it is back; only what cannot be re-asserted is lost.
#[derive(Clone)]
pub struct LeaseKeeper {}

impl LeaseKeeper {
    /// A keeper for `owner_id`, and a future that renews until `stop` is cancelled, whereupon it releases all. Lost leases are told on `lost`.
    pub fn new(
        _engine: Arc<dyn Engine>,
        _owner_id: String,
        _owner_grpc_url: String,
        _lost: mpsc::Sender<LostLease>,
        _stop: tokio_util::sync::CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        (Self {}, async {})
    }
    /// The owner that it keeps for.
    pub fn owner_id(&self) -> &str {
        todo!()
    }
    /// Claims a stream, on `node_id` or the least loaded node, and keeps the lease from now on.
    pub async fn allocate(
        &self,
        _stream_key: &StreamKey,
        _node_id: Option<&str>,
    ) -> Result<Grant, RegistryError> {
        let _ = std::marker::PhantomData::<Claim>;
        todo!()
    }
    /// Rejects the port and keeps the lease under its new one.
    pub async fn reject(&self, _lease: &LeaseId) -> Result<Grant, RegistryError> {
        todo!()
    }
    /// Stops keeping a lease and releases it (again and again in the background while the registry is gone, until its TTL has passed).
    pub fn release(&self, _lease: &LeaseId) {
        todo!()
    }
}

/// Announces a node and keeps the announcement: registers (again, whenever the registry does not know it), renews every third of the TTL, and
/// deregisters at the end.
pub struct NodeKeeper {}

impl NodeKeeper {
    /// A future that keeps `node` announced until `stop` is cancelled. `registered` turns true at each success and false when the registry is gone.
    pub fn run(
        _engine: Arc<dyn Engine>,
        _node: NodeInfo,
        _registered: tokio::sync::watch::Sender<bool>,
        _stop: tokio_util::sync::CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        async {}
    }
}
