use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn serve_with(extra: Router) -> (SocketAddr, Metrics, Shutdown, tokio::task::JoinHandle<()>) {
    let (metrics, shutdown) = (Metrics::new("test"), Shutdown::new());
    let listen = ([127, 0, 0, 1], 0).into();
    let (address, serve) = bind(listen, metrics.clone(), extra, shutdown.clone()).await.unwrap();
    (address, metrics, shutdown, tokio::spawn(serve))
}

/// Sends `head` with "Connection: close" and gives the whole response.
async fn call(address: SocketAddr, request_line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn metrics_come_as_openmetrics() {
    let (address, ..) = serve_with(Router::new()).await;
    let response = call(address, "GET /metrics", "").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(response.ends_with("# EOF\n"), "{response}");
}

#[tokio::test]
async fn readiness_ends_with_the_drain_and_the_port_stays_open_until_the_cut() {
    let (address, _, shutdown, served) = serve_with(Router::new()).await;
    assert!(call(address, "GET /readyz", "").await.starts_with("HTTP/1.1 200"));
    shutdown.start_drain();
    assert!(call(address, "GET /readyz", "").await.starts_with("HTTP/1.1 503"));
    assert!(call(address, "GET /livez", "").await.starts_with("HTTP/1.1 200"));
    shutdown.cut();
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_told_in_json() {
    let extra = Router::new().route("/thing", axum::routing::post(async || "ok"));
    let (address, ..) = serve_with(extra).await;
    let response = call(address, "GET /nothing", "").await;
    assert!(response.starts_with("HTTP/1.1 404"), "{response}");
    assert!(response.ends_with(r#"{"error":"nothing is at /nothing"}"#), "{response}");
    for path in ["/thing", "/livez"] {
        let response = call(address, &format!("DELETE {path}"), "").await;
        assert!(response.starts_with("HTTP/1.1 405"), "{response}");
        assert!(response.contains("does not take DELETE"), "{response}");
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_counted() {
    async fn bad() -> &'static str {
        panic!("on purpose")
    }
    let (address, metrics, ..) = serve_with(Router::new().route("/bad", get(bad))).await;
    let response = call(address, "GET /bad", "").await;
    assert!(response.starts_with("HTTP/1.1 500"), "{response}");
    assert!(metrics.render().contains("task_panics_total{task=\"http_request\"} 1"));
    assert!(call(address, "GET /livez", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413() {
    let take = axum::routing::post(async |body: String| body.len().to_string());
    let (address, ..) = serve_with(Router::new().route("/take", take)).await;
    let body = "x".repeat(MAX_BODY_BYTES + 1);
    let response = call(address, "POST /take", &body).await;
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let (address, ..) = serve_with(Router::new()).await;
    let long = "x".repeat(2 * MAX_HEAD_BYTES);
    let response = call(address, &format!("GET /{long}"), "").await;
    assert!(response.starts_with("HTTP/1.1 4"), "{response}");
}
