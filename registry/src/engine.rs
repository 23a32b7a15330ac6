//! The engine trait.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::Stream;
use media::StreamKey;
use svc_core::error::{ApiError, Detail, Kind};

use crate::{Claim, Grant, Lease, LeaseId, Node, NodeInfo, StreamOwner};

/// One change of the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchEvent {
    /// All that was there has been told; what follows are changes.
    SnapshotEnd,
    /// Was there when the watch began (before `SnapshotEnd`), or was added (after it).
    NodeAdded(Node),
    /// Its announcement changed.
    NodeChanged(Node),
    /// It is gone.
    NodeRemoved {
        /// The node as it was last.
        node: Node,
        /// Whether it ended since nobody renewed it.
        expired: bool,
    },
    /// Was there when the watch began, or was granted.
    LeaseAdded(Lease),
    /// It has another port.
    LeaseChanged(Lease),
    /// It has ended.
    LeaseRemoved {
        /// The lease as it was last.
        lease: Lease,
        /// Whether it ended since nobody renewed it.
        expired: bool,
    },
}

/// Why the registry refuses. Maps to one `ApiError` each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such node.
    #[error("no node {0:?} is registered")]
    UnknownNode(String),
    /// No node at all.
    #[error("no node is registered")]
    NoNode,
    /// No free port on the node(s).
    #[error("no free RTP port on {0}")]
    NoPort(String),
    /// Another owner's claim on the stream is alive.
    #[error("stream {stream_key} belongs to {owner_id}, epoch {epoch}")]
    Owned {
        /// The stream.
        stream_key: StreamKey,
        /// Its owner.
        owner_id: String,
        /// The owner's epoch.
        epoch: u64,
    },
    /// No such lease.
    #[error("no lease {0:?}")]
    UnknownLease(String),
    /// Nobody has the stream.
    #[error("nobody has stream {0}")]
    UnknownStream(StreamKey),
    /// What was to be re-asserted has been taken by another, or a newer epoch is there.
    #[error("lease {lease_id:?} of epoch {epoch} cannot be re-asserted: {problem}")]
    Fenced {
        /// The lease.
        lease_id: String,
        /// Its epoch.
        epoch: u64,
        /// What stands against it.
        problem: String,
    },
    /// A field that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field's name in the API.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// One of the registry's own limits is reached.
    #[error("the registry is full: {0}")]
    Full(String),
    /// The registry cannot be reached.
    #[error("the registry cannot be reached: {0}")]
    Unavailable(String),
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        use RegistryError as E;
        let message = error.to_string();
        let (kind, detail) = match error {
            E::UnknownNode(id) => (Kind::NotFound, Detail::Resource("node", id)),
            E::NoNode => (Kind::ResourceExhausted, Detail::Reason("NO_NODE")),
            E::NoPort(_) => (Kind::ResourceExhausted, Detail::Reason("NO_PORT")),
            E::Owned { stream_key, .. } => {
                (Kind::AlreadyExists, Detail::Resource("stream", stream_key.to_string()))
            }
            E::UnknownLease(id) => (Kind::NotFound, Detail::Resource("lease", id)),
            E::UnknownStream(key) => (Kind::NotFound, Detail::Resource("stream", key.to_string())),
            E::Fenced { .. } => (Kind::FailedPrecondition, Detail::Reason("FENCED")),
            E::Invalid { field, problem } => {
                (Kind::InvalidArgument, Detail::Fields(vec![(field.to_owned(), problem)]))
            }
            E::Full(_) => (Kind::ResourceExhausted, Detail::Reason("REGISTRY_FULL")),
            E::Unavailable(_) => (Kind::Unavailable, Detail::Reason("REGISTRY_UNREACHABLE")),
        };
        Self { kind, message, detail }
    }
}

/// A snapshot, then changes. After an error it is over: watch anew ([`RegistryError::Full`]: the
/// watcher was too slow; [`RegistryError::Unavailable`]: the registry is gone).
pub type Watch = std::pin::Pin<Box<dyn Stream<Item = Result<WatchEvent, RegistryError>> + Send>>;

/// A store of leases. `crate::conformance` says by tests what each call must hold to.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Announces a node; its TTL.
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError>;
    /// Renews an announcement; its TTL.
    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError>;
    /// Takes a node out at once, its leases with it (drain); harmless when it is gone.
    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError>;
    /// Grants a leg.
    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError>;
    /// Renews leases of an owner: those that are lost (gone, another owner's, or on a node that is gone), and the
    /// TTL of the others.
    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError>;
    /// Ends a lease; harmless when it is gone.
    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError>;
    /// Sets the port aside and grants another, on another node if this one has none. With no port anywhere it
    /// is [`RegistryError::NoPort`] and the lease has ended.
    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError>;
    /// Who has a stream.
    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError>;
    /// All nodes, in the order of their ids.
    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError>;
    /// All leases, in the order of stream key and node id.
    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError>;
    /// A snapshot, then every change.
    async fn watch(&self) -> Result<Watch, RegistryError>;
}
