//! The gRPC port of a service: health, reflection v1 and v1alpha, tracing and panic layers, and what the service adds.

use std::net::SocketAddr;

use crate::drain::Shutdown;

/// Binds the gRPC port and gives a future that serves `routes` on it, with health (SERVING for "" and each of `services`, NOT_SERVING while
/// draining) and reflection, until the drain ends. W3C traceparent of the caller becomes the parent of each call's span.
pub async fn bind(
    _listen: SocketAddr,
    _routes: tonic::service::Routes,
    _services: &'static [&'static str],
    _shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    todo!() as std::io::Result<(SocketAddr, std::future::Ready<()>)>
}

/// A channel to a peer that connects lazily, with connect timeout and HTTP/2 keep-alive; the current span's
/// traceparent goes with each call.
pub fn channel(_url: &str) -> Result<Channel, tonic::transport::Error> {
    todo!()
}

/// What the generated clients are built over: `StreamControlClient::new(channel)`. The owner of this file makes it the real type
/// (a `tonic` interceptor or a tower layer around `tonic::transport::Channel`).
pub type Channel = tonic::transport::Channel;
