//! SIGTERM: publishers are asked to go, and waited for.

use super::*;

/// A service that waits for its publishers for longer than any test.
fn patient() -> Config {
    let mut config = config();
    config.ingest.drain_grace = Duration::from_secs(3600);
    config
}

/// `capsEx`: it can be asked to reconnect, and reads multitrack.
const RECONNECTS: Option<u32> = Some(3);

#[tokio::test]
async fn a_publisher_that_can_is_asked_to_reconnect_and_goes_on_until_it_does() {
    let (mut bench, mut node) = Bench::with_node(patient()).await;
    let rtmp = bench.addresses.rtmp;
    let mut publisher = TestPublisher::publish_with(rtmp, "a", RECONNECTS).await.unwrap();
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_start().await;
    node.next_rtp().await;
    bench.shutdown.start_drain();
    let code = publisher.next_status().await.unwrap();
    assert_eq!(code, "NetConnection.Connect.ReconnectRequest");
    assert!(bench.stream("a").await.unwrap().draining);
    publisher.video(400, avc_picture(true, 0, 500, 77)).await;
    while node.next_rtp().await.1.last() != Some(&77) {}
    // Nobody gets in any more; a stream that is there gets legs still.
    let closed = async { while tokio::net::TcpStream::connect(rtmp).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("it listens on");
    let leg = v1::StartStreamRequest {
        stream_key: "a".into(),
        node_id: node.info.id.clone(),
        ..Default::default()
    };
    bench.control.start_stream(leg).await.unwrap();
    drop(publisher);
    let engine = bench.engine.clone();
    bench.drain().await;
    assert_eq!(engine.list_leases().await.unwrap(), []);
    let received = std::iter::from_fn(|| node.try_next());
    assert!(
        !received
            .into_iter()
            .any(|received| matches!(received, Received::Stop(_) | Received::Feed(_)))
    );
}

#[tokio::test]
async fn a_publisher_that_cannot_is_told_nothing_until_the_grace_time_is_over() {
    let mut config = config();
    config.ingest.drain_grace = Duration::from_millis(200);
    let (bench, mut node) = Bench::with_node(config).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_rtp().await;
    let began = std::time::Instant::now();
    let (_, codes) = tokio::join!(bench.drain(), publisher.ended());
    assert_eq!(codes, ["NetStream.Unpublish.Success"]);
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn what_has_no_publisher_is_not_waited_for() {
    let (mut bench, mut node) = Bench::with_node(patient()).await;
    let start = |key: &str| v1::StartStreamRequest { stream_key: key.into(), ..Default::default() };
    bench.control.start_stream(start("armed")).await.unwrap();
    let mut publisher = bench.publish("held").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_rtp().await;
    drop(publisher);
    bench.until("held", |s| s.is_some_and(|s| s.state() == v1::StreamState::Held)).await;
    bench.drain().await;
}
