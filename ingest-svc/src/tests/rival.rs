//! Streams of other ingests that a publisher comes to here with.

use registry::Claim;

use super::*;

/// A second ingest of the same registry.
async fn beside(bench: &Bench) -> Bench {
    Bench::start_with(config(), bench.engine.clone()).await
}

async fn publish_gop(bench: &Bench, from_ms: u32) -> TestPublisher {
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, from_ms).await;
    publisher
}

/// Waits until others are told that the stream's ingest drains.
async fn drains(bench: &Bench) {
    let mut control = bench.control.clone();
    let told = async {
        loop {
            let request = v1::GetStreamRequest { stream_key: "a".into() };
            let answer = control.get_stream(request).await.unwrap().into_inner();
            if answer.stream.unwrap().draining {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it does not drain");
}

/// Another owner's claim on the stream "a".
fn claim(url: &str, supersede: Option<u64>) -> Claim {
    Claim {
        stream_key: StreamKey::parse("a").unwrap(),
        owner_id: "other".into(),
        owner_grpc_url: url.into(),
        node_id: None,
        reassert: None,
        supersede,
    }
}

#[tokio::test]
async fn as_long_as_another_ingest_has_a_publisher_a_second_one_is_refused() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let other = beside(&bench).await;
    let publisher = publish_gop(&bench, 0).await;
    node.next_rtp().await;
    assert_eq!(other.refusal("a").await, "NetStream.Publish.BadName");
    drop(publisher);
    other.drain().await;
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_that_comes_back_to_another_ingest_goes_on_there_and_the_first_lets_go() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut other = beside(&bench).await;
    let publisher = publish_gop(&bench, 0).await;
    let (first, _) = node.next_start().await;
    node.next_rtp().await;
    drop(publisher);
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Held)).await;
    let publisher = publish_gop(&other, 0).await;
    let (second, _) = node.next_start().await;
    let (first, second) = (first.lease.unwrap(), second.lease.unwrap());
    assert!(second.epoch > first.epoch);
    assert_eq!((&second.node_id, second.rtp_port), (&first.node_id, first.rtp_port));
    other.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    // At the next renewal the first one hears of it, and does not end the other's readers.
    bench.until("a", |s| s.is_none()).await;
    let received = std::iter::from_fn(|| node.try_next());
    assert!(
        !received
            .into_iter()
            .any(|received| matches!(received, Received::Stop(_) | Received::Feed(_)))
    );
    drop(publisher);
    other.drain().await;
    bench.drain().await;
}

#[tokio::test]
async fn an_owner_that_is_dead_or_answers_nothing_is_superseded() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The system accepts for it; it never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // One that was here before.
    let before = bench.addresses.grpc;
    for address in [closed, mute.local_addr().unwrap(), before] {
        let url = format!("http://{address}");
        let old = bench.engine.allocate_port(claim(&url, None)).await.unwrap().lease;
        let began = std::time::Instant::now();
        let publisher = publish_gop(&bench, 0).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let (request, _) = node.next_start().await;
        assert!(request.lease.unwrap().epoch > old.epoch);
        let stop = v1::StopStreamRequest { stream_key: "a".into(), ..Default::default() };
        bench.control.clone().stop_stream(stop).await.unwrap();
        drop(publisher);
        let gone = async { while bench.leases().await > 0 {} };
        tokio::time::timeout(PATIENCE, gone).await.expect("a lease stays");
    }
    // Who cannot be asked may be there.
    bench.engine.allocate_port(claim("", None)).await.unwrap();
    assert_eq!(bench.refusal("a").await, "NetStream.Publish.BadName");
    bench.drain().await;
}

#[tokio::test]
async fn a_stream_that_another_ingest_takes_over_lets_its_publisher_go_and_the_readers_stay() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let publisher = publish_gop(&bench, 0).await;
    let (request, _) = node.next_start().await;
    let epoch = request.lease.unwrap().epoch;
    bench.engine.allocate_port(claim("http://127.0.0.1:1", Some(epoch))).await.unwrap();
    assert_eq!(publisher.ended().await, ["NetStream.Unpublish.Success"]);
    bench.until("a", |s| s.is_none()).await;
    assert_eq!(bench.leases().await, 1, "the other's");
    let received = std::iter::from_fn(|| node.try_next());
    assert!(
        !received
            .into_iter()
            .any(|received| matches!(received, Received::Stop(_) | Received::Feed(_)))
    );
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_that_was_asked_to_reconnect_gets_in_beside_its_old_connection() {
    let mut config = config();
    config.ingest.drain_grace = Duration::from_secs(3600);
    let (bench, mut node) = Bench::with_node(config).await;
    let other = beside(&bench).await;
    let mut old = publish_gop(&bench, 0).await;
    node.next_rtp().await;
    bench.shutdown.start_drain();
    drains(&bench).await;
    let mut new = other.publish("a").await;
    // Until it sends, the stream is where it was.
    let owner = async || {
        let key = StreamKey::parse("a").unwrap();
        bench.engine.lookup_stream(&key).await.unwrap().epoch
    };
    let epoch = owner().await;
    old.video(400, avc_picture(true, 0, 500, 77)).await;
    while node.next_rtp().await.1.last() != Some(&77) {}
    assert_eq!(owner().await, epoch);
    send_headers(&mut new).await;
    send_gop(&mut new, 0).await;
    let (start, _) = node.next_start().await;
    assert!(start.lease.unwrap().epoch > epoch);
    drop(old);
    bench.drain().await;
    drop(new);
    other.drain().await;
}

#[tokio::test]
async fn a_publisher_that_was_asked_to_reconnect_and_leaves_without_media_claims_nothing() {
    let mut config = config();
    config.ingest.drain_grace = Duration::from_secs(3600);
    let (bench, mut node) = Bench::with_node(config).await;
    let mut other = beside(&bench).await;
    let old = publish_gop(&bench, 0).await;
    node.next_rtp().await;
    bench.shutdown.start_drain();
    drains(&bench).await;
    let new = other.publish("a").await;
    drop(new);
    other.until("a", |stream| stream.is_none()).await;
    assert_eq!(bench.leases().await, 1);
    drop(old);
    bench.drain().await;
    other.drain().await;
}
