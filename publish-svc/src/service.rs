//! Config → bind → run.

use std::net::SocketAddr;

use svc_core::{config::Config, drain::Shutdown};

/// The bound service.
pub struct Publish {}

/// Where the service listens, ports 0 resolved.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// RTSP.
    pub rtsp: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("{key} = {address}: {source}")]
    Bind {
        /// The config key.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Publish {
    /// Takes all sockets. The registry is embedded where `config.registry.url` is empty.
    pub async fn bind(_config: &Config) -> Result<Self, StartError> {
        todo!()
    }
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        todo!()
    }
    /// Serves until drained or cut.
    pub async fn run(self, _shutdown: Shutdown) {
        todo!()
    }
}
