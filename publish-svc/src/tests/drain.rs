//! SIGTERM: the node's streams are made elsewhere.

use std::time::Duration;

use registry::Engine;
use tonic::Code;

use crate::testing::{Asked, Bench, FakeIngest, Source, config, lease, leased};

/// A node that has asked an ingest for the stream "a".
async fn with_stream(grace: Duration) -> (Bench, FakeIngest) {
    let mut config = config();
    config.publish.drain_grace = grace;
    let bench = Bench::start(config).await;
    let mut ingest = FakeIngest::start(&bench, "ingest-1").await;
    ingest.has("a").await;
    let mut reader = bench.reader("a").await;
    assert_eq!(reader.ask("DESCRIBE", "", "").await.status, 200);
    ingest.next().await;
    (bench, ingest)
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_given_to_another_node_at_once() {
    let (bench, mut ingest) = with_stream(Duration::from_secs(3600)).await;
    bench.shutdown.start_drain();
    let Asked::Stop(asked) = ingest.next().await else { panic!("no StopStream") };
    assert_eq!((asked.stream_key.as_str(), asked.node_id.as_str()), ("a", "node-1"));
    bench.drain().await;
}

#[tokio::test]
async fn readers_are_waited_for_and_nothing_begins_on_the_node_meanwhile() {
    let (mut bench, mut ingest) = with_stream(Duration::from_secs(3600)).await;
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP").await;
    bench.shutdown.start_drain();
    let announced = async {
        while !bench.registry.list_nodes().await.unwrap().iter().any(|node| node.info.draining) {}
    };
    tokio::time::timeout(Duration::from_secs(10), announced).await.expect("it is not announced");
    let request = leased("b", &Source::new(3), lease("b", bench.first_port + 20, 3));
    let status = bench.start_stream(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reader.ask("OPTIONS", "", "").await.status, 200);
    assert!(!ingest.is_asked());
    drop(reader);
    let Asked::Stop(_) = ingest.next().await else { panic!("no StopStream") };
    bench.drain().await;
}

#[tokio::test]
async fn readers_that_stay_are_let_go_before_the_grace_time_is_over() {
    let (bench, mut ingest) = with_stream(Duration::from_millis(600)).await;
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP").await;
    let began = std::time::Instant::now();
    bench.shutdown.start_drain();
    let Asked::Stop(_) = ingest.next().await else { panic!("no StopStream") };
    assert!(began.elapsed() >= Duration::from_millis(300));
    reader.rest().await;
    bench.drain().await;
}
