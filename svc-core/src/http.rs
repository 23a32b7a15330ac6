//! The HTTP port of a service: `/livez`, `/readyz`, `/metrics`, and what the service adds.

use std::net::SocketAddr;

use crate::{drain::Shutdown, metrics::Metrics};

/// Binds the HTTP port and gives a future that serves it until the drain ends. `/readyz` answers 503 while
/// draining; it never depends on the registry.
pub async fn bind(
    _listen: SocketAddr,
    _metrics: Metrics,
    _extra: axum::Router,
    _shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    todo!() as std::io::Result<(SocketAddr, std::future::Ready<()>)>
}
