//! The client side: a channel that connects lazily and carries the trace context.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::{body::Body, transport};
use tower::{Service, service_fn};
use tracing::{Instrument, field::Empty, info_span};

use super::{calls, trace_context};

/// A peer in the same cluster answers a SYN in milliseconds; what cannot be reached must be known at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that vanished without a FIN is found out by a ping after so much silence, also when no call is under way…
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// …that is not answered within so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A channel to a peer that connects lazily and again whenever needed, with connect timeout and HTTP/2 keep-alive; each call has a
/// client span under the current one, whose traceparent goes with the call. Deadlines are the caller's.
pub fn channel(url: &str) -> Result<Channel, transport::Error> {
    Ok(Channel { inner: endpoint(url)?.connect_lazy() })
}

/// The same, which has `connect` connect each time, to wherever that is best just then; `url` is what peers are told.
pub fn channel_by<F>(
    url: &str,
    connect: impl Fn() -> F + Send + 'static,
) -> Result<Channel, transport::Error>
where
    F: Future<Output = std::io::Result<TcpStream>> + Send + 'static,
{
    let connector = service_fn(move |_: Uri| {
        let connecting = connect();
        async move {
            let stream = connecting.await?;
            stream.set_nodelay(true)?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    Ok(Channel { inner: endpoint(url)?.connect_with_connector_lazy(connector) })
}

fn endpoint(url: &str) -> Result<transport::Endpoint, transport::Error> {
    Ok(transport::Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// What the generated clients are built over: `StreamControlClient::new(channel)`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: transport::Channel,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (service, method) = calls::split_path(request.uri().path());
        let span = info_span!(
            "grpc_client",
            otel.name = request.uri().path().trim_start_matches('/'),
            otel.kind = "client",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = Empty,
        );
        trace_context::inject(&span, request.headers_mut());
        Box::pin(self.inner.call(request).instrument(span))
    }
}
