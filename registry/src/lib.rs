//! The lease book: who has which stream, which node, which RTP port.
//!
//! [`Engine`] is the one small trait that every store of leases implements; [`MemoryEngine`] is the one that needs nothing;
//! `EtcdEngine` (with the feature `etcd`) is shared by all that serve the registry.
//! [`service`] serves the `Registry` RPC over any engine; [`Client`] calls it; [`LeaseKeeper`] holds the one
//! renewal of a process for all its leases.

mod book;
mod changes;
mod client;
mod convert;
mod engine;
#[cfg(feature = "etcd")]
mod etcd;
mod keeper;
mod memory;
mod model;
mod service;
mod status;
mod validate;

#[cfg(test)]
mod conformance;

pub use client::Client;
pub use convert::{
    LeaseFields, NodeFields, info_from_proto, info_to_proto, lease_from_proto, lease_to_proto,
};
pub use engine::{Engine, RegistryError, Watch, WatchEvent};
#[cfg(feature = "etcd")]
pub use etcd::{EtcdConfig, EtcdEngine, Secret, TlsConfig};
pub use keeper::{LeaseKeeper, LostLease, NodeKeeper};
pub use memory::{MemoryConfig, MemoryEngine};
pub use model::{Claim, Grant, Lease, LeaseId, Node, NodeInfo, StreamOwner};
pub use service::{Service, service};
