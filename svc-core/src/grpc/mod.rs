//! The gRPC port of a service: health, reflection v1 and v1alpha, tracing and panic layers, and what the service adds;
//! and [`channel`] and [`within`], by which others call it.

mod calls;
mod channel;
mod deadline;
mod trace_context;
mod watch;

use std::{net::SocketAddr, time::Duration};

use tokio_stream::StreamExt;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use channel::{Channel, channel, channel_by};
pub use deadline::within;
pub use watch::{WatchResponses, WatchedStreams, watch_streams};

use crate::{drain::Shutdown, metrics::Metrics};

/// Calls at one time on one connection, watches included. A publish-svc that serves many ingests has one
/// connection from each; 1,000 streams that start at once fit.
const MAX_CALLS: u32 = 1024;
/// How long a call may take until its response begins; a caller's shorter deadline goes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that vanished is found out by a ping after so much silence…
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// …that is not answered within so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest list of request headers, in bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// How long calls may go on after the cut.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Binds the gRPC port and gives a future that serves `routes` on it, with health (SERVING for "" and each of
/// `services`, NOT_SERVING while draining) and reflection, until the shutdown's cut (a service cuts a
/// [`Shutdown::child`] when it has drained). W3C traceparent of the caller becomes the parent of each call's span.
pub async fn bind(
    listen: SocketAddr,
    metrics: &Metrics,
    routes: Routes,
    services: &'static [&'static str],
    shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, services, ServingStatus::Serving).await;
    let routes = add_reflection(routes.add_service(health)).map_err(std::io::Error::other)?;

    let calls = calls::CallLayer::new(metrics, shutdown.cutting().clone());
    let serve = async move {
        let cut = shutdown.cutting().clone();
        let mut server = Server::builder()
            .layer(calls)
            .timeout(CALL_TIMEOUT)
            .max_concurrent_streams(MAX_CALLS)
            .concurrency_limit_per_connection(MAX_CALLS as usize)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        // Errors of accepting end neither the listener nor tonic's loop.
        let incoming = incoming.filter(|accepted| accepted.is_ok());
        let server =
            server.add_routes(routes).serve_with_incoming_shutdown(incoming, cut.cancelled());
        let tell_drain = async {
            shutdown.draining().cancelled().await;
            report(&reporter, services, ServingStatus::NotServing).await;
            shutdown.cutting().cancelled().await;
            tokio::time::sleep(CUT_GRACE).await;
            tracing::debug!("gRPC calls were cut");
        };
        tokio::select! {
            result = server => if let Err(error) = result {
                tracing::error!(%error, "the gRPC server ended");
            },
            () = tell_drain => {}
        }
    };
    Ok((address, serve))
}

async fn report(reporter: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services.iter().chain(&[""]) {
        reporter.set_service_status(service, status).await;
    }
}

/// The encoded descriptors of all that the port speaks.
const DESCRIPTOR_SETS: [&[u8]; 3] = [
    proto::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
];

fn add_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    use tonic_reflection::server::Builder;
    let builder = || {
        DESCRIPTOR_SETS
            .into_iter()
            .fold(Builder::configure(), Builder::register_encoded_file_descriptor_set)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

#[cfg(test)]
mod tests;
