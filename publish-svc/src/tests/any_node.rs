//! Readers of streams that the node does not have.

use std::time::Duration;

use registry::{Engine, LeaseId, WatchEvent};
use tonic::Status;

use super::rtsp::FOR_EVER;
use crate::testing::{Asked, Bench, FakeIngest, Reader, Sender, Source, config};

/// A node in whose registry an ingest has the stream "a", on another node.
async fn elsewhere(config: svc_core::config::Config) -> (Bench, FakeIngest) {
    let bench = Bench::start(config).await;
    let ingest = FakeIngest::start(&bench, "ingest-1").await;
    ingest.has("a").await;
    (bench, ingest)
}

/// A reader that has asked for the stream "a".
async fn asking(bench: &Bench, suffix: &str) -> Reader {
    let mut reader = bench.reader("a").await;
    let describe = reader.request("DESCRIBE", suffix, "");
    reader.send(&describe).await;
    reader
}

#[tokio::test]
async fn a_stream_that_an_ingest_has_is_asked_for_and_played() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let (mut bench, mut ingest) = elsewhere(config).await;
    let mut reader = asking(&bench, "").await;
    let Asked::Start(asked) = ingest.next().await else { panic!("no StartStream") };
    assert_eq!((asked.stream_key.as_str(), asked.node_id.as_str()), ("a", "node-1"));
    assert_eq!(reader.response().await.status, 200);
    reader.set_up(0, "RTP/AVP/TCP").await;
    let port = bench.stream("a").await.unwrap().rtp_port;
    Sender::to(port as u16).rtp(Source::new(1).keyframe(40));
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(reader.mark().await, 40);
    bench.until_metrics(&["fetches_total{reason=\"here\"} 1"]).await;
    assert_eq!(bench.leases().await, 2);
    bench.drain().await;
}

#[tokio::test]
async fn a_key_that_nobody_has_is_not_found_at_once() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let bench = Bench::start(config).await;
    for _ in 0..2 {
        assert_eq!(asking(&bench, "").await.response().await.status, 404);
    }
    // What was found a moment ago was not asked again.
    bench.until_metrics(&["fetches_total{reason=\"nowhere\"} 1"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn an_ingest_that_has_lost_the_stream_answers_for_nobody() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let (bench, ingest) = elsewhere(config).await;
    ingest.refuse(Some(Status::not_found("no stream \"a\"")));
    assert_eq!(asking(&bench, "").await.response().await.status, 404);
    bench.drain().await;
}

#[tokio::test]
async fn readers_of_one_key_share_one_request() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let (bench, mut ingest) = elsewhere(config).await;
    ingest.hold().await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(asking(&bench, "").await);
    }
    ingest.next().await;
    // One that hangs up leaves the others waiting.
    readers.pop();
    ingest.let_one();
    for reader in &mut readers {
        assert_eq!(reader.response().await.status, 200);
    }
    assert!(!ingest.is_asked());
    bench.drain().await;
}

#[tokio::test]
async fn an_ingest_that_says_later_is_asked_again_and_one_that_is_gone_is_503_in_time() {
    let mut config = config();
    config.rtsp.describe_wait = Duration::from_millis(500);
    let (bench, mut ingest) = elsewhere(config).await;
    ingest.refuse(Some(Status::unavailable("its tracks are not known yet")));
    let mut reader = asking(&bench, "").await;
    for _ in 0..2 {
        ingest.next().await;
    }
    ingest.refuse(None);
    assert_eq!(reader.response().await.status, 200);

    let gone = ingest.has("gone").await;
    drop(ingest);
    let began = std::time::Instant::now();
    let mut reader = bench.reader("gone").await;
    assert_eq!(reader.ask("DESCRIBE", "", "").await.status, 503);
    assert!(began.elapsed() >= Duration::from_millis(500));
    bench.registry.release_port(&gone.id).await.unwrap();
    bench.drain().await;
}

#[tokio::test]
async fn an_ingest_that_gives_no_leg_is_503_at_once() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let (bench, ingest) = elsewhere(config).await;
    ingest.refuse(Some(Status::resource_exhausted("it has 8 legs, ingest.max_legs")));
    assert_eq!(asking(&bench, "").await.response().await.status, 503);
    bench.until_metrics(&["fetches_total{reason=\"unavailable\"} 1"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_registry_that_is_gone_is_503() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = config();
    config.registry.url = format!("http://{closed}");
    let publish = crate::Publish::bind(&config).await.unwrap();
    let rtsp = publish.addresses().rtsp;
    let shutdown = svc_core::drain::Shutdown::new();
    let service = tokio::spawn(publish.run(shutdown.clone()));
    let mut reader = Reader::connect(rtsp, "a").await;
    assert_eq!(reader.ask("DESCRIBE", "", "").await.status, 503);
    shutdown.start_drain();
    service.await.unwrap();
}

#[tokio::test]
async fn a_leg_that_the_node_asked_for_is_given_back_when_nobody_reads_it_any_more() {
    let mut config = config();
    config.publish.idle_leg_timeout = Duration::from_millis(100);
    let (mut bench, mut ingest) = elsewhere(config).await;
    let mut reader = asking(&bench, "").await;
    ingest.next().await;
    assert_eq!(reader.response().await.status, 200);
    reader.set_up(0, "RTP/AVP/TCP").await;
    let port = bench.stream("a").await.unwrap().rtp_port as u16;
    drop(reader);
    let Asked::Stop(asked) = ingest.next().await else { panic!("no StopStream") };
    assert_eq!((asked.stream_key.as_str(), asked.node_id.as_str()), ("a", "node-1"));
    bench.until("a", |stream| stream.is_none()).await;
    assert!(std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok());
    // And is asked for anew.
    assert_eq!(asking(&bench, "").await.response().await.status, 200);
    bench.drain().await;
}

#[tokio::test]
async fn who_waits_for_a_publisher_gets_it_wherever_it_comes() {
    let bench = Bench::start(config()).await;
    let ingest = FakeIngest::start(&bench, "ingest-1").await;
    let mut reader = asking(&bench, "?wait=60s").await;
    bench.until_metrics(&["rtsp_waiters 1"]).await;
    ingest.has("b").await;
    ingest.has("a").await;
    assert_eq!(reader.response().await.status, 200);
    bench.drain().await;
}

#[tokio::test]
async fn with_redirect_a_reader_is_sent_to_a_node_that_has_the_stream() {
    let mut config = config();
    config.rtsp.redirect = true;
    let (bench, mut ingest) = elsewhere(config).await;
    for (suffix, query) in [("", ""), ("?token=x&start=live", "?token=x&start=live")] {
        let moved = asking(&bench, suffix).await.response().await;
        assert_eq!(moved.status, 302);
        assert_eq!(moved.headers["location"], format!("rtsp://node-2.test:8554/a{query}"));
    }
    let mut reader = bench.reader("a").await;
    let set_up = reader.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP\r\n").await;
    assert_eq!(set_up.status, 404);
    assert!(!ingest.is_asked());
    // What nobody has is nowhere, redirect or not.
    assert_eq!(bench.reader("b").await.ask("DESCRIBE", "", "").await.status, 404);
    bench.drain().await;
}

#[tokio::test]
async fn a_lease_that_is_heard_of_ends_what_was_found_before() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let bench = Bench::start(config).await;
    let ingest = FakeIngest::start(&bench, "ingest-1").await;
    assert_eq!(asking(&bench, "").await.response().await.status, 404);
    let LeaseId(id) = ingest.has("a").await.id;
    bench
        .until_lease_event(|e| matches!(e, WatchEvent::LeaseAdded(lease) if lease.id.0 == id))
        .await;
    let found = async { while asking(&bench, "").await.response().await.status != 200 {} };
    // Less than what was found is good for.
    tokio::time::timeout(Duration::from_millis(900), found).await.expect("it is still not found");
    bench.drain().await;
}
