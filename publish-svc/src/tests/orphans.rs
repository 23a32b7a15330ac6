//! Streams whose ingest is gone, and those that go on with them.

use std::time::Duration;

use media::StreamKey;
use registry::{Claim, Engine, Lease};

use super::rtsp::FOR_EVER;
use crate::testing::{Asked, Bench, FakeIngest, Reader, Sender, Source, Track, config, leased};

fn claim(owner: &str, node_id: &str) -> Claim {
    Claim {
        stream_key: StreamKey::parse("a").unwrap(),
        owner_id: owner.into(),
        owner_grpc_url: "http://127.0.0.1:1".into(),
        node_id: Some(node_id.into()),
        reassert: None,
        supersede: None,
    }
}

/// A node on which an ingest has the stream "a", which flows, and a reader who plays it.
async fn live(config: svc_core::config::Config) -> (Bench, Lease, Reader) {
    let mut bench = Bench::start(config).await;
    let lease = bench.registry.allocate_port(claim("ingest-1", "node-1")).await.unwrap().lease;
    let mut source = Source::new(1);
    let request = leased("a", &source, registry::lease_to_proto(lease.clone()));
    bench.start_stream(request).await.unwrap();
    let sender = Sender::to(lease.rtp_port);
    sender.rtcp(&source.report(Track::Video, 0));
    sender.rtp(source.keyframe(0));
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP").await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(reader.mark().await, 0);
    (bench, lease, reader)
}

/// The ingest is asked for a leg, and the reader gets what comes on it.
async fn reader_goes_on_by_a_leg_asked_of(
    ingest: &mut FakeIngest,
    bench: &mut Bench,
    reader: &mut Reader,
) {
    let Asked::Start(asked) = ingest.next().await else { panic!("no StartStream") };
    assert_eq!(asked.node_id, "node-1");
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_some())).await;
    let port = bench.stream("a").await.unwrap().rtp_port as u16;
    Sender::to(port).rtp(Source::new(1).keyframe(3000));
    assert_eq!(reader.mark().await, 3000);
}

/// A configuration with which readers are kept for so long.
fn holding(hold: Duration) -> svc_core::config::Config {
    let mut config = config();
    config.publish.hold = hold;
    config
}

#[tokio::test]
async fn readers_go_on_with_the_ingest_that_comes_next_in_the_same_session() {
    let (mut bench, old, mut reader) = live(holding(FOR_EVER)).await;
    let wish = Claim { supersede: Some(old.epoch), ..claim("ingest-2", "node-1") };
    let new = bench.registry.allocate_port(wish).await.unwrap().lease;
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_none() && s.rtp_port == 0)).await;
    assert_eq!(new.rtp_port, old.rtp_port, "it was free at once");
    let mut source = Source::new(2);
    let request = leased("a", &source, registry::lease_to_proto(new.clone()));
    bench.start_stream(request).await.unwrap();
    let sender = Sender::to(new.rtp_port);
    sender.rtcp(&source.report(Track::Video, 2000));
    sender.rtp(source.keyframe(2000));
    assert_eq!(reader.mark().await, 2000);
    let stream = bench.stream("a").await.unwrap();
    assert_eq!((stream.epoch, stream.readers.len()), (new.epoch, 1));
    bench.until_metrics(&["orphaned_total 1"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn where_the_next_ingest_goes_to_another_node_it_is_asked_for_a_leg() {
    let (mut bench, old, mut reader) = live(holding(FOR_EVER)).await;
    let mut ingest = FakeIngest::start(&bench, "ingest-2").await;
    bench.registry.release_port(&old.id).await.unwrap();
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_none())).await;
    ingest.has("a").await;
    reader_goes_on_by_a_leg_asked_of(&mut ingest, &mut bench, &mut reader).await;
    bench.drain().await;
}

#[tokio::test]
async fn an_ingest_that_has_the_stream_still_and_gave_up_the_leg_is_asked_for_another() {
    let (mut bench, old, mut reader) = live(holding(FOR_EVER)).await;
    let mut ingest = FakeIngest::start(&bench, "ingest-1").await;
    assert_eq!(ingest.has("a").await.epoch, old.epoch);
    bench.registry.release_port(&old.id).await.unwrap();
    reader_goes_on_by_a_leg_asked_of(&mut ingest, &mut bench, &mut reader).await;
    bench.drain().await;
}

#[tokio::test]
async fn readers_whom_nobody_comes_for_are_let_go_when_the_hold_is_over() {
    let (mut bench, lease, mut reader) = live(holding(Duration::from_millis(100))).await;
    bench.registry.release_port(&lease.id).await.unwrap();
    reader.rest().await;
    bench.until("a", |stream| stream.is_none()).await;
    bench.drain().await;
}

#[tokio::test]
async fn without_readers_there_is_nobody_to_keep_the_stream_for() {
    let (mut bench, lease, reader) = live(holding(FOR_EVER)).await;
    drop(reader);
    bench.until("a", |s| s.is_some_and(|s| s.readers.is_empty())).await;
    bench.registry.release_port(&lease.id).await.unwrap();
    bench.until("a", |stream| stream.is_none()).await;
    bench.drain().await;
}

#[tokio::test]
async fn the_port_of_an_orphan_may_be_anothers_and_its_readers_stay() {
    let (mut bench, lease, _reader) = live(holding(FOR_EVER)).await;
    bench.registry.release_port(&lease.id).await.unwrap();
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_none())).await;
    let other = Source::new(7);
    let of_other = crate::testing::lease("b", lease.rtp_port, 9);
    bench.start_stream(leased("b", &other, of_other)).await.unwrap();
    assert_eq!(bench.stream("a").await.unwrap().readers.len(), 1);
    bench.drain().await;
}

#[tokio::test]
async fn an_orphan_whose_last_reader_leaves_ends() {
    let (mut bench, lease, reader) = live(holding(FOR_EVER)).await;
    bench.registry.release_port(&lease.id).await.unwrap();
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_none())).await;
    drop(reader);
    bench.until("a", |stream| stream.is_none()).await;
    bench.drain().await;
}

#[tokio::test]
async fn who_was_superseded_and_has_not_heard_of_it_cannot_begin_the_stream_again() {
    let (mut bench, old, reader) = live(holding(FOR_EVER)).await;
    drop(reader);
    bench.until("a", |s| s.is_some_and(|s| s.readers.is_empty())).await;
    let wish = Claim { supersede: Some(old.epoch), ..claim("ingest-2", "node-1") };
    bench.registry.allocate_port(wish).await.unwrap();
    bench.until("a", |stream| stream.is_none()).await;
    // Where it comes before the node has heard of the new owner, it is let in, and ended when that is heard.
    let status = async {
        loop {
            let request = leased("a", &Source::new(1), registry::lease_to_proto(old.clone()));
            match bench.start_stream(request).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(10), status).await.expect("it is let in");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    bench.until("a", |stream| stream.is_none()).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_node_that_drains_lets_the_readers_of_an_orphan_go_when_another_has_the_stream() {
    let mut config = holding(FOR_EVER);
    config.publish.drain_grace = FOR_EVER;
    let (mut bench, old, mut reader) = live(config).await;
    let mut ingest = FakeIngest::start(&bench, "ingest-2").await;
    bench.shutdown.start_drain();
    let announced = async {
        while !bench.registry.list_nodes().await.unwrap().iter().any(|node| node.info.draining) {}
    };
    tokio::time::timeout(Duration::from_secs(10), announced).await.expect("it is not announced");
    bench.registry.release_port(&old.id).await.unwrap();
    bench.until("a", |s| s.is_some_and(|s| s.lease.is_none())).await;
    ingest.has("a").await;
    reader.rest().await;
    assert!(!ingest.is_asked());
    bench.drain().await;
}
