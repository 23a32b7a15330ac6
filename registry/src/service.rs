//! The `Registry` RPC over any engine.

use std::sync::Arc;

use proto::v1::registry_server::RegistryServer;

/// The gRPC service over `engine`.
pub fn service(_engine: Arc<dyn crate::Engine>) -> RegistryServer<Service> {
    todo!()
}

/// What [`service`] returns is made of.
pub struct Service {}
