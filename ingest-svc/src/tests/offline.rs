//! The offline picture: what readers get of a stream whose publisher stays away.

use media::rtp::Header;

use super::*;

fn offline_config() -> Config {
    let mut config = config();
    config.ingest.hold = Duration::from_millis(300);
    config
}

fn request(offline_picture: bool) -> v1::StartStreamRequest {
    v1::StartStreamRequest { stream_key: "a".into(), offline_picture, ..Default::default() }
}

#[tokio::test]
async fn readers_are_kept_by_a_still_picture_until_a_publisher_comes_back() {
    let (mut bench, mut node) = Bench::with_node(offline_config()).await;
    bench.control.start_stream(request(true)).await.unwrap();
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 1000).await;
    node.next_start().await;
    bench.until("a", |s| s.is_some_and(|s| s.counters.unwrap().video_access_units == 10)).await;
    drop(publisher);
    let offline = |s: &v1::Stream| {
        s.state() == v1::StreamState::Waiting && s.offline_picture && s.tracks.len() == 2
    };
    bench.until("a", |s| s.is_some_and(offline)).await;
    let stream = bench.stream("a").await.unwrap();
    assert_eq!((stream.legs.len(), stream.publisher), (1, None));

    // Four keyframes are on the way: that of the publisher, and its copies.
    let (mut starts, mut sounds) = (Vec::new(), 0);
    while starts.len() < 3 {
        match node.next().await {
            Received::Rtp(packet) => {
                let header = Header::parse(&packet).unwrap();
                let payload = &packet[header.payload.clone()];
                match (header.payload_type, payload[0] & 0x1F, payload.get(1)) {
                    // The first fragment of an IDR.
                    (96, 28, Some(0x85)) => starts.push(packet.slice(header.payload)),
                    (97, ..) => sounds += usize::from(payload[4..] == [0x20, 0, 0, 0, 0, 0, 0x0E]),
                    _ => {}
                }
            }
            Received::Stop(stop) => panic!("the readers were let go: {stop:?}"),
            Received::Start(_) | Received::Feed(_) | Received::Rtcp(..) => {}
        }
    }
    assert!(starts.windows(2).all(|two| two[0] == two[1]));
    assert!(sounds > 20, "{sounds} frames of silence");

    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    let live = |s: &v1::Stream| s.state() == v1::StreamState::Live && !s.offline_picture;
    bench.until("a", |s| s.is_some_and(live)).await;
    bench.drain().await;
    while let Some(received) = node.try_next() {
        assert!(
            !matches!(received, Received::Stop(_) | Received::Feed(_) | Received::Start(_)),
            "{received:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_was_never_live_has_no_offline_picture() {
    let (mut bench, _node) = Bench::with_node(offline_config()).await;
    bench.control.start_stream(request(true)).await.unwrap();
    drop(bench.publish("a").await);
    let waits = |s: &v1::Stream| {
        s.state() == v1::StreamState::Waiting && s.publisher.is_none() && !s.offline_picture
    };
    bench.until("a", |s| s.is_some_and(waits)).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_stream_is_not_armed_again_with_other_parameters() {
    let (mut bench, _node) = Bench::with_node(config()).await;
    let publisher = bench.publish("a").await;
    bench.control.start_stream(request(true)).await.unwrap();
    bench.control.start_stream(request(true)).await.unwrap();
    let status = bench.control.start_stream(request(false)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    drop(publisher);
    bench.drain().await;
}
