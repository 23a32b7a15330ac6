//! A second publisher of a stream key (`ingest.takeover`).

use media::rtp::Header;
use svc_core::config::Takeover;

use super::*;

/// A policy under which no publisher of a test stalls.
fn with(policy: Takeover) -> Config {
    let mut config = config();
    config.ingest.takeover = policy;
    config.ingest.stall = Duration::from_secs(3600);
    config
}

/// `backup`, under which every publisher of a test stalls soon.
fn stalling() -> Config {
    let mut config = with(Takeover::Backup);
    config.ingest.stall = Duration::from_millis(500);
    config
}

/// A picture of one publisher: its first byte says whose.
async fn send_pictures(publisher: &mut TestPublisher, from_ms: u32, count: u32, whose: u8) {
    for n in 0..count {
        let ms = from_ms + n * 40;
        publisher.video(ms, avc_picture(n == 0, 0, 500, whose)).await;
        publisher.audio(ms, aac_frame(300, whose)).await;
    }
}

/// The RTP packets of both tracks, whose order is held.
#[derive(Default)]
struct Watched {
    last: [Option<Header>; 2],
    /// The payload of the last packet of parameter sets.
    parameter_sets: Vec<u8>,
}

impl Watched {
    /// The next packet of video: whose it is, and whether it is of a keyframe. Packets of both tracks go on without a break.
    async fn next(&mut self, node: &mut FakeNode) -> (u8, bool) {
        loop {
            let (header, payload) = match node.next().await {
                Received::Rtp(packet) => {
                    let header = Header::parse(&packet).unwrap();
                    let payload = packet.slice(header.payload.clone());
                    (header, payload)
                }
                Received::Start(_) => panic!("the leg is made anew"),
                Received::Stop(_) | Received::Feed(_) => panic!("the leg ends"),
                Received::Rtcp(..) => continue,
            };
            let is_video = header.payload_type == 96;
            if let Some(last) = &self.last[usize::from(is_video)] {
                assert_eq!(header.ssrc, last.ssrc);
                assert_eq!(header.sequence_number, last.sequence_number.wrapping_add(1));
                let step = header.timestamp.wrapping_sub(last.timestamp) as i32;
                // The parameter sets of a keyframe have its time.
                assert!(step > 0 || (is_video && step == 0), "a step of {step}");
                let second = if is_video { 90_000 } else { 48_000 };
                assert!(step < 20 * second, "a step of {step}");
            }
            self.last[usize::from(is_video)] = Some(header);
            if !is_video {
                continue;
            }
            if payload[0] & 0x1F == 1 {
                return (payload[1], false);
            }
            // A STAP-A of the parameter sets and the IDR, which is behind all of them.
            assert_eq!(payload[0] & 0x1F, 24);
            let whose = payload[payload.len() - 1];
            self.parameter_sets = payload.to_vec();
            return (whose, true);
        }
    }

    /// Goes on to the first picture of a publisher.
    async fn until(&mut self, node: &mut FakeNode, whose: u8) -> bool {
        loop {
            let (seen, keyframe) = self.next(node).await;
            if seen == whose {
                return keyframe;
            }
        }
    }
}

/// A bench whose stream `a` has a publisher, whose pictures flow.
async fn live(config: Config) -> (Bench, FakeNode, TestPublisher, Watched) {
    let (bench, mut node) = Bench::with_node(config).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_pictures(&mut publisher, 90_000, 5, 1).await;
    node.next_start().await;
    let mut watched = Watched::default();
    assert_eq!(watched.next(&mut node).await, (1, true));
    (bench, node, publisher, watched)
}

/// A second publisher of `key`, which has sent 2 GOPs of 5 pictures.
async fn second(bench: &Bench, key: &str) -> TestPublisher {
    let mut second = bench.publish(key).await;
    send_headers(&mut second).await;
    send_pictures(&mut second, 0, 5, 7).await;
    send_pictures(&mut second, 200, 5, 2).await;
    second
}

/// A publisher that stands by, all of whose media has been read.
async fn standby(bench: &Bench) -> TestPublisher {
    let standby = second(bench, "a").await;
    until_metric(bench, MESSAGES, 22).await;
    standby
}

/// What standbys have sent.
const MESSAGES: &str = "ingest_standby_messages_total";

/// Waits until a sample of the metrics has a value.
async fn until_metric(bench: &Bench, sample: &str, value: u64) {
    let reached = async { while metric(bench, sample).await != Some(value) {} };
    tokio::time::timeout(PATIENCE, reached).await.expect("it never was as wanted");
}

/// The value of a sample of the metrics.
async fn metric(bench: &Bench, sample: &str) -> Option<u64> {
    let url = bench.addresses.http;
    let mut stream = tokio::net::TcpStream::connect(url).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("rtmp2rtsp_")?.strip_prefix(sample)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

async fn switches(bench: &Bench, reason: &str) -> u64 {
    let sample = format!("ingest_publisher_switches_total{{reason=\"{reason}\"}}");
    metric(bench, &sample).await.unwrap_or_default()
}

#[tokio::test]
async fn under_takeover_the_second_publisher_goes_on_and_the_first_is_told() {
    let (mut bench, mut node, publisher, mut watched) = live(with(Takeover::Takeover)).await;
    let epoch = bench.stream("a").await.unwrap().epoch;
    let mut second = bench.publish("a").await;
    let codes = publisher.ended().await;
    assert_eq!(codes, ["NetStream.Unpublish.Success"]);
    send_headers(&mut second).await;
    // What comes before its keyframe is of no use.
    second.video(40, avc_picture(false, 0, 500, 9)).await;
    send_pictures(&mut second, 80, 5, 2).await;
    loop {
        match watched.next(&mut node).await {
            (1, _) => {}
            (2, keyframe) => break assert!(keyframe),
            other => panic!("{other:?}"),
        }
    }
    for _ in 1..5 {
        assert_eq!(watched.next(&mut node).await, (2, false));
    }
    let stream = bench.stream("a").await.unwrap();
    assert_eq!((stream.epoch, stream.state()), (epoch, v1::StreamState::Live));
    assert_eq!(switches(&bench, "taken_over").await, 1);
    assert_eq!(metric(&bench, "ingest_publishers").await, Some(1));
    drop(second);
    bench.drain().await;
}

#[tokio::test]
async fn under_takeover_a_publisher_of_other_parameter_sets_brings_its_own() {
    let (bench, mut node, publisher, mut watched) = live(with(Takeover::Takeover)).await;
    let mut second = bench.publish("a").await;
    publisher.ended().await;
    let other_pps = [0x68, 0xEF, 0xBC, 0xB3];
    second.video(0, avc_header(SPS, &other_pps)).await;
    second.video(0, avc_picture(true, 0, 500, 2)).await;
    assert!(watched.until(&mut node, 2).await);
    let sent = watched.parameter_sets;
    assert!(sent.windows(4).any(|window| window == other_pps), "{sent:x?}");
    drop(second);
    bench.drain().await;
}

/// A bench whose registry takes calls and never answers them, and a publisher that waits for it.
async fn waiting(policy: Takeover) -> (Bench, JoinHandle<Result<TestPublisher, String>>) {
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", registry.local_addr().unwrap());
    let client = Arc::new(registry::Client::new(&url).unwrap());
    let mut bench = Bench::start_with(with(policy), client).await;
    let rtmp = bench.addresses.rtmp;
    let publisher = tokio::spawn(async move {
        let publisher = TestPublisher::publish(rtmp, "a").await;
        drop(registry);
        publisher
    });
    bench.until("a", |s| s.is_some()).await;
    (bench, publisher)
}

#[tokio::test]
async fn under_takeover_a_publisher_that_waits_for_the_registry_is_refused_for_the_next_one() {
    let (bench, first) = waiting(Takeover::Takeover).await;
    let second = bench.refusal("a");
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().err().as_deref(), Some("NetStream.Publish.BadName"));
    assert_eq!(second, "NetStream.Publish.Failed", "it waits in its place");
    bench.drain().await;
}

#[tokio::test]
async fn a_standby_of_a_stream_that_cannot_be_started_is_told_so() {
    let (bench, first) = waiting(Takeover::Backup).await;
    let standby = bench.publish("a").await;
    assert_eq!(first.await.unwrap().err().as_deref(), Some("NetStream.Publish.Failed"));
    assert_eq!(standby.ended().await, ["NetStream.Unpublish.Success"]);
    assert_eq!(metric(&bench, "ingest_standbys").await, Some(0));
    bench.drain().await;
}

#[tokio::test]
async fn under_backup_a_standby_is_shown_and_a_third_publisher_is_refused() {
    let (mut bench, mut node, mut publisher, mut watched) = live(with(Takeover::Backup)).await;
    let standby = standby(&bench).await;
    assert_eq!(bench.refusal("a").await, "NetStream.Publish.BadName");
    let stream = bench.stream("a").await.unwrap();
    let shown = stream.standby.unwrap();
    assert_eq!(shown.peer_address, standby.local_address().to_string());
    assert_eq!(stream.publisher.unwrap().peer_address, publisher.local_address().to_string());
    assert_eq!(metric(&bench, "ingest_standbys").await, Some(1));
    // Nothing of the standby is sent on.
    send_pictures(&mut publisher, 90_200, 5, 3).await;
    for _ in 1..5 {
        assert_eq!(watched.next(&mut node).await.0, 1);
    }
    assert_eq!(watched.next(&mut node).await, (3, true));
    // It goes, and another can stand by.
    drop(standby);
    bench.until("a", |s| s.is_some_and(|s| s.standby.is_none())).await;
    drop(bench.publish("a").await);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn under_backup_the_standby_goes_on_from_its_last_keyframe_when_the_first_leaves() {
    let (mut bench, mut node, publisher, mut watched) = live(with(Takeover::Backup)).await;
    let epoch = bench.stream("a").await.unwrap().epoch;
    let mut standby = standby(&bench).await;
    let address = standby.local_address().to_string();
    drop(publisher);
    assert!(watched.until(&mut node, 2).await, "its last keyframe is its first picture");
    for _ in 1..5 {
        assert_eq!(watched.next(&mut node).await, (2, false));
    }
    send_pictures(&mut standby, 400, 3, 4).await;
    assert_eq!(watched.next(&mut node).await, (4, true));
    let stream = bench.stream("a").await.unwrap();
    assert_eq!(stream.publisher.unwrap().peer_address, address);
    assert_eq!((stream.standby, stream.epoch), (None, epoch));
    assert_eq!(switches(&bench, "left").await, 1);
    assert_eq!(metric(&bench, "ingest_standbys").await, Some(0));
    // The first one comes back, and stands by.
    drop(bench.publish("a").await);
    drop(standby);
    bench.drain().await;
}

#[tokio::test]
async fn under_backup_the_standby_goes_on_when_the_first_stalls_which_is_told_and_disconnected() {
    let (bench, mut node, publisher, mut watched) = live(stalling()).await;
    let standby = second(&bench, "a").await;
    assert!(watched.until(&mut node, 2).await);
    assert_eq!(publisher.ended().await, ["NetStream.Unpublish.Success"]);
    assert_eq!(switches(&bench, "stalled").await, 1);
    drop(standby);
    bench.drain().await;
}

#[tokio::test]
async fn a_standby_without_a_keyframe_waits_for_it_while_the_first_one_stalls() {
    let (bench, _node, publisher, _) = live(stalling()).await;
    let mut waiting = bench.publish("a").await;
    send_headers(&mut waiting).await;
    until_metric(&bench, MESSAGES, 2).await;
    // The publisher of another stream sends its last later, and stalls.
    let mut other = bench.publish("b").await;
    send_headers(&mut other).await;
    send_pictures(&mut other, 0, 2, 1).await;
    let standby = second(&bench, "b").await;
    other.ended().await;
    assert_eq!(switches(&bench, "stalled").await, 1);
    send_pictures(&mut waiting, 0, 2, 2).await;
    publisher.ended().await;
    assert_eq!(switches(&bench, "stalled").await, 2);
    drop((waiting, standby));
    bench.drain().await;
}

#[tokio::test]
async fn a_standby_that_has_sent_nothing_yet_goes_on_when_the_first_leaves() {
    let (mut bench, mut node, publisher, mut watched) = live(with(Takeover::Backup)).await;
    let mut standby = bench.publish("a").await;
    drop(publisher);
    bench.until("a", |s| s.is_some_and(|s| s.standby.is_none() && s.publisher.is_some())).await;
    send_headers(&mut standby).await;
    send_pictures(&mut standby, 0, 2, 2).await;
    assert!(watched.until(&mut node, 2).await);
    drop(standby);
    bench.drain().await;
}

#[tokio::test]
async fn a_gop_of_more_access_units_than_a_leg_takes_at_once_comes_through_whole() {
    let (bench, mut node, publisher, mut watched) = live(with(Takeover::Backup)).await;
    let mut standby = bench.publish("a").await;
    send_headers(&mut standby).await;
    send_pictures(&mut standby, 0, 600, 2).await;
    until_metric(&bench, MESSAGES, 1202).await;
    drop(publisher);
    assert!(watched.until(&mut node, 2).await);
    for _ in 1..600 {
        assert_eq!(watched.next(&mut node).await, (2, false));
    }
    drop(standby);
    bench.drain().await;
}

#[tokio::test]
async fn stop_stream_and_a_drain_end_the_standby_too() {
    let (mut bench, _node, publisher, _) = live(with(Takeover::Backup)).await;
    let standby = standby(&bench).await;
    let request = v1::StopStreamRequest { stream_key: "a".into(), ..Default::default() };
    let stopped = bench.control.stop_stream(request).await.unwrap().into_inner();
    assert!(stopped.stream.unwrap().standby.is_some());
    let (first, second) = tokio::join!(publisher.ended(), standby.ended());
    assert_eq!([first, second], [["NetStream.Unpublish.Success"]; 2]);
    assert_eq!(metric(&bench, "ingest_standbys").await, Some(0));
    bench.drain().await;

    let (bench, _node, publisher, _) = live(with(Takeover::Backup)).await;
    let standby = self::standby(&bench).await;
    let (_, first, second) = tokio::join!(bench.drain(), publisher.ended(), standby.ended());
    assert_eq!([first, second], [["NetStream.Unpublish.Success"]; 2]);
}
