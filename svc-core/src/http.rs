//! The HTTP port of a service: `/livez`, `/readyz`, `/metrics`, and what the service adds.
//!
//! HTTP/1.1 only. Each connection, header, body and request has a bound; a panic in a handler is a 500 for its caller.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower_http::limit::RequestBodyLimitLayer;

use crate::{
    accept::Acceptor,
    drain::Shutdown,
    metrics::{self, Metrics, TaskPanics},
    panics::Guarded,
    tasks::Tasks,
};

/// Connections at one time: scrapers, probes and scripts; a browser opens six.
const MAX_CONNECTIONS: usize = 256;
/// The largest request body: a stream key and a URL, with room.
const MAX_BODY_BYTES: usize = 64 << 10;
/// The largest request head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long a client may take to send a request head, also on an idle kept-alive connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a handler may take; StartStream waits for a node at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take to end its request after the cut.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Binds the HTTP port and gives a future that serves it until the shutdown's cut (a service cuts a
/// [`Shutdown::child`] when it has drained). `/readyz` answers 503 while draining; it never depends on the registry.
pub async fn bind(
    listen: SocketAddr,
    metrics: Metrics,
    extra: Router,
    shutdown: Shutdown,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let tasks = Tasks::new(&metrics);
    let app = app(metrics, extra, shutdown.clone());
    Ok((address, serve(listener, app, tasks, shutdown)))
}

fn app(metrics: Metrics, extra: Router, shutdown: Shutdown) -> Router {
    let panics = metrics.task_panics();
    let render = move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()) };
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(move || ready(shutdown)))
        .route("/metrics", get(render))
        .merge(extra)
        .fallback(async |request: Request| {
            problem(StatusCode::NOT_FOUND, format!("nothing is at {}", request.uri().path()))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            problem(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
        })
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(middleware::from_fn(move |request, next| bounded(panics.clone(), request, next)))
}

async fn ready(shutdown: Shutdown) -> Response {
    if shutdown.draining().is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

/// An error as every call of this port answers it: a status, and `{"error": "…"}` with the reason.
pub fn problem(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, Json(serde_json::json!({ "error": reason.into() }))).into_response()
}

/// Runs a handler within its time, and answers 500 for it if it panics.
async fn bounded(panics: TaskPanics, request: Request, next: Next) -> Response {
    let handler = Guarded::new(next.run(request));
    match tokio::time::timeout(REQUEST_TIMEOUT, handler).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            panics.count("http_request", &panic);
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed; its log says why")
        }
        Err(_) => {
            let reason = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
            problem(StatusCode::GATEWAY_TIMEOUT, reason)
        }
    }
}

async fn serve(listener: TcpListener, app: Router, tasks: Tasks, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut acceptor = Acceptor::new(listener, permits);
    loop {
        let (stream, permit) = tokio::select! {
            () = shutdown.cutting().cancelled() => break,
            accepted = acceptor.accept() => accepted,
        };
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tasks.spawn("http_connection", async move {
            serve_connection(stream, app, shutdown).await;
            drop(permit);
        });
    }
    if tokio::time::timeout(CUT_GRACE, tasks.join()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "HTTP connections were cut");
    }
}

async fn serve_connection(stream: TcpStream, app: Router, shutdown: Shutdown) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cutting().cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(CUT_GRACE, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
