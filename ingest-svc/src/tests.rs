//! The whole service in one process: real RTMP, a lease book in memory, a node that listens.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use media::{StreamKey, codec::MediaKind};
use proto::v1::{self, stream_control_client::StreamControlClient};
use registry::{Engine, MemoryConfig, MemoryEngine};
use svc_core::{config::Config, drain::Shutdown, grpc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};

use crate::{
    Addresses, Ingest,
    stream::Arming,
    testing::{
        FakeNode, PPS, Received, SPS, TestPublisher, aac_frame, aac_header, avc_header, avc_picture,
    },
};

mod clock;
mod drain;
mod held_back;
mod late_track;
mod legs;
mod nack;
mod odd;
mod offline;
mod pull;
mod rival;
mod srtp;
mod takeover;

const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    engine: Arc<dyn Engine>,
    addresses: Addresses,
    shutdown: Shutdown,
    service: JoinHandle<()>,
    control: StreamControlClient<grpc::Channel>,
}

fn config() -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::default();
    config.rtmp.listen = any;
    config.ingest.grpc_listen = any;
    config.ingest.http_listen = any;
    config.ingest.track_wait = Duration::from_millis(200);
    // Publishers that do not leave are not waited for.
    config.ingest.drain_grace = Duration::ZERO;
    config.rtp.sender_report_interval = Duration::from_millis(100);
    config
}

fn memory() -> Arc<dyn Engine> {
    MemoryEngine::new(MemoryConfig {
        ttl: Duration::from_secs(10),
        rejected_port_rest: Duration::from_secs(60),
    })
}

impl Bench {
    async fn start(config: Config) -> Self {
        Self::start_with(config, memory()).await
    }

    async fn start_with(config: Config, engine: Arc<dyn Engine>) -> Self {
        let ingest = Ingest::bind_with(&config, engine.clone()).await.unwrap();
        let addresses = ingest.addresses();
        let shutdown = Shutdown::new();
        let service = tokio::spawn(ingest.run(shutdown.clone()));
        let url = format!("http://{}", addresses.grpc);
        let control = StreamControlClient::new(grpc::channel(&url).unwrap());
        Self { engine, addresses, shutdown, service, control }
    }

    async fn with_node(config: Config) -> (Self, FakeNode) {
        let bench = Self::start(config).await;
        let node = FakeNode::start(16).await;
        bench.engine.register_node(node.info.clone()).await.unwrap();
        (bench, node)
    }

    async fn publish(&self, key: &str) -> TestPublisher {
        TestPublisher::publish(self.addresses.rtmp, key).await.unwrap()
    }

    async fn refusal(&self, key: &str) -> String {
        TestPublisher::publish(self.addresses.rtmp, key).await.err().expect("it was let in")
    }

    async fn stream(&mut self, key: &str) -> Result<v1::Stream, tonic::Status> {
        let request = v1::GetStreamRequest { stream_key: key.into() };
        Ok(self.control.get_stream(request).await?.into_inner().stream.unwrap())
    }

    /// Waits until the stream is as wanted, by its changes.
    async fn until(&mut self, key: &str, wanted: impl Fn(Option<&v1::Stream>) -> bool) {
        let request = v1::WatchStreamsRequest {};
        let mut events = self.control.watch_streams(request).await.unwrap().into_inner();
        let mut ended = false;
        let seen = async {
            loop {
                let event = events.message().await.unwrap().expect("the watch ended");
                let (kind, stream) = (event.event(), event.stream);
                let of_key = stream.as_ref().is_some_and(|stream| stream.stream_key == key);
                ended |= kind == v1::StreamEvent::SnapshotEnd;
                let is_wanted = match kind {
                    v1::StreamEvent::Removed => of_key && wanted(None),
                    // No stream of the key in the snapshot is seen at its end.
                    v1::StreamEvent::SnapshotEnd => wanted(None),
                    _ => of_key && wanted(stream.as_ref()),
                };
                if is_wanted {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("it never was as wanted");
    }

    /// What /metrics says.
    async fn metrics(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.addresses.http).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn leases(&self) -> usize {
        self.engine.list_leases().await.unwrap().len()
    }

    async fn drain(self) {
        self.shutdown.start_drain();
        tokio::time::timeout(PATIENCE, self.service).await.unwrap().unwrap();
    }
}

async fn send_headers(publisher: &mut TestPublisher) {
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.audio(0, aac_header()).await;
}

/// A GOP of 10 pictures of 25 a second, with an audio frame behind each.
async fn send_gop(publisher: &mut TestPublisher, from_ms: u32) {
    for n in 0..10 {
        let ms = from_ms + n * 40;
        publisher.video(ms, avc_picture(n == 0, 0, 2000, n as u8)).await;
        publisher.audio(ms, aac_frame(300, n as u8)).await;
    }
}

#[tokio::test]
async fn what_is_published_is_sent_to_a_node_from_the_first_access_unit_on() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("site-3/cam.7?token=x").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 1000).await;

    let (request, description) = node.next_start().await;
    assert_eq!(request.stream_key, "site-3/cam.7");
    assert_eq!(description.tracks.len(), 2);
    assert_eq!(description.source_address, Some([127, 0, 0, 1].into()));
    let ssrcs: Vec<_> = description.tracks.iter().map(|t| t.ssrc.unwrap()).collect();
    let cname = description.tracks[0].cname.clone().unwrap();
    assert_eq!(description.tracks[1].cname.as_ref(), Some(&cname));

    let (mut pictures, mut frames) = (vec![], vec![]);
    let mut next_number = [None; 2];
    let mut origin = [None; 2];
    let mut reports = vec![];
    while frames.len() < 10 || pictures.len() < 10 || reports.len() < 4 {
        match node.next().await {
            Received::Rtp(packet) => {
                let header = media::rtp::Header::parse(&packet).unwrap();
                let at = ssrcs.iter().position(|&ssrc| ssrc == header.ssrc).unwrap();
                let number = next_number[at].get_or_insert(header.sequence_number);
                assert_eq!(header.sequence_number, *number);
                *number = number.wrapping_add(1);
                let origin = *origin[at].get_or_insert(header.timestamp);
                let ticks = header.timestamp.wrapping_sub(origin);
                match description.tracks[at].config.kind() {
                    MediaKind::Video if header.marker => pictures.push(ticks / 90),
                    MediaKind::Video => {}
                    MediaKind::Audio => frames.push(ticks),
                }
            }
            Received::Rtcp(compound, _) => {
                reports.push(media::rtcp::parse_compound(&compound).unwrap());
            }
            Received::Start(_) | Received::Stop(_) | Received::Feed(_) => panic!("one StartStream"),
        }
    }
    assert_eq!(pictures, (0..10).map(|n| n * 40).collect::<Vec<_>>());
    assert_eq!(frames.len(), 10);
    let stream = bench.stream("site-3/cam.7").await.unwrap();
    assert_eq!(stream.state(), v1::StreamState::Live);
    assert_eq!(stream.publisher.unwrap().app, "live");
    assert_eq!((stream.tracks[0].width, stream.tracks[0].height), (1280, 720));
    assert!(stream.legs[0].established);
    assert_eq!(stream.counters.unwrap().video_access_units, 10);
    assert_eq!(bench.leases().await, 1);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn sender_reports_of_both_tracks_come_at_once_and_lie_on_one_line() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    let (_, description) = node.next_start().await;
    let (first, cname, _) = node.next_report().await;
    let (second, other_cname, _) = node.next_report().await;
    assert_eq!((first.ntp, &cname), (second.ntp, &other_cname));
    let ssrcs = [first.ssrc, second.ssrc].map(Some);
    assert_eq!(ssrcs, [description.tracks[0].ssrc, description.tracks[1].ssrc]);
    // Later ones are ahead by the same time on both clocks.
    let (later, _, _) = node.next_report().await;
    let (later_audio, _, _) = node.next_report().await;
    let passed_ns = later.ntp.nanos_since(first.ntp);
    let video_ns = i64::from(later.rtp_timestamp.wrapping_sub(first.rtp_timestamp)) * 100_000 / 9;
    let audio_ticks = later_audio.rtp_timestamp.wrapping_sub(second.rtp_timestamp);
    let audio_ns = i64::from(audio_ticks) * 1_000_000 / 48;
    assert!((video_ns - passed_ns).abs() < 100_000, "{video_ns} {passed_ns}");
    assert!((audio_ns - passed_ns).abs() < 100_000, "{audio_ns} {passed_ns}");
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_that_comes_back_in_time_goes_on_on_the_same_leg() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("phone").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 50_000).await;
    let mut last = None;
    for _ in 0..30 {
        let (header, _) = node.next_rtp().await;
        if header.payload_type == 96 {
            last = Some(header);
        }
    }
    drop(publisher);
    bench.until("phone", |s| s.is_some_and(|s| s.state() == v1::StreamState::Held)).await;

    let mut publisher = bench.publish("phone").await;
    send_headers(&mut publisher).await;
    publisher.video(0, avc_picture(false, 0, 500, 9)).await;
    send_gop(&mut publisher, 40).await;
    let last = last.unwrap();
    let next = loop {
        match node.next().await {
            Received::Rtp(packet) => {
                let header = media::rtp::Header::parse(&packet).unwrap();
                let ahead = header.timestamp.wrapping_sub(last.timestamp);
                if header.payload_type == 96 && ahead != 0 {
                    break header;
                }
            }
            Received::Start(_) => panic!("the leg stays"),
            Received::Rtcp(..) | Received::Stop(_) | Received::Feed(_) => {}
        }
    };
    assert_eq!(next.ssrc, last.ssrc);
    assert_eq!(next.sequence_number, last.sequence_number.wrapping_add(1));
    let ahead = next.timestamp.wrapping_sub(last.timestamp);
    assert!(ahead > 0 && ahead < 90_000 * 10, "{ahead}");
    bench.until("phone", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_held_stream_ends_after_its_time_and_an_armed_one_waits_again() {
    let mut config = config();
    config.ingest.hold = Duration::from_millis(50);
    let (mut bench, mut node) = Bench::with_node(config).await;
    let request = v1::StartStreamRequest { stream_key: "armed".into(), ..Default::default() };
    bench.control.start_stream(request).await.unwrap();
    for key in ["by-itself", "armed"] {
        let mut publisher = bench.publish(key).await;
        send_headers(&mut publisher).await;
        send_gop(&mut publisher, 0).await;
        let (request, _) = node.next_start().await;
        node.next_rtp().await;
        drop(publisher);
        let stop = node.next_stop().await;
        assert_eq!(stop.stream_key, key);
        assert_eq!(stop.epoch, request.lease.unwrap().epoch);
    }
    bench.until("by-itself", |s| s.is_none()).await;
    let waits = |s: &v1::Stream| s.state() == v1::StreamState::Waiting && s.legs.is_empty();
    bench.until("armed", |s| s.is_some_and(waits)).await;
    bench.drain().await;
}

#[tokio::test]
async fn publishers_are_refused_with_the_proper_status() {
    let mut config = config();
    let (bench, _node) = Bench::with_node(config.clone()).await;
    assert_eq!(bench.refusal("a b").await, "NetStream.Publish.Denied");
    assert_eq!(bench.refusal("a/../b").await, "NetStream.Publish.Denied");
    let publisher = bench.publish("a").await;
    assert_eq!(bench.refusal("a").await, "NetStream.Publish.BadName");
    drop(publisher);
    bench.drain().await;

    config.ingest.auto_start = false;
    let (mut bench, _node) = Bench::with_node(config).await;
    assert_eq!(bench.refusal("a").await, "NetStream.Publish.Denied");
    let request = v1::StartStreamRequest { stream_key: "a".into(), ..Default::default() };
    bench.control.start_stream(request).await.unwrap();
    drop(bench.publish("a").await);
    bench.drain().await;
}

#[tokio::test]
async fn without_a_leg_a_publisher_is_refused_with_publish_failed() {
    let bench = Bench::start(config()).await;
    assert_eq!(bench.refusal("no-node").await, "NetStream.Publish.Failed");
    let node = FakeNode::start(1).await;
    bench.engine.register_node(node.info.clone()).await.unwrap();
    let _publisher = bench.publish("a").await;
    assert_eq!(bench.refusal("no-port").await, "NetStream.Publish.Failed");
    bench.drain().await;

    // Nobody listens where the registry should be.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = registry::Client::new(&format!("http://{closed}")).unwrap();
    let mut bench = Bench::start_with(config(), Arc::new(client)).await;
    assert_eq!(bench.refusal("no-registry").await, "NetStream.Publish.Failed");
    assert_eq!(bench.stream("no-registry").await.unwrap_err().code(), tonic::Code::NotFound);
    bench.drain().await;
}

#[tokio::test]
async fn a_port_that_another_program_holds_is_rejected_for_another() {
    let bench = Bench::start(config()).await;
    let mut node = FakeNode::start(16).await;
    let taken = tokio::net::UdpSocket::bind(("127.0.0.1", node.info.rtp_port_min)).await;
    bench.engine.register_node(node.info.clone()).await.unwrap();
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    let (request, _) = node.next_start().await;
    assert_ne!(request.lease.unwrap().rtp_port, u32::from(node.info.rtp_port_min));
    node.next_rtp().await;
    assert_eq!(bench.leases().await, 1);
    drop((publisher, taken));
    bench.drain().await;
}

#[tokio::test]
async fn a_leg_is_made_anew_from_the_last_keyframe_when_the_node_has_forgotten_it() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_start().await;
    node.next_rtp().await;
    send_gop(&mut publisher, 400).await;
    node.forget();
    // The Sender Reports are refused, too.
    let (_, description) = node.next_start().await;
    let (header, _) = loop {
        let (header, payload) = node.next_rtp().await;
        if Some(header.ssrc) == description.tracks[0].ssrc {
            break (header, payload);
        }
    };
    assert_eq!(header.payload_type, 96);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn stop_stream_ends_the_publisher_the_leg_and_the_lease() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_start().await;
    node.next_rtp().await;
    let request = v1::StopStreamRequest { stream_key: "a".into(), ..Default::default() };
    let stopped = bench.control.stop_stream(request.clone()).await.unwrap().into_inner();
    assert_eq!(stopped.stream.unwrap().legs.len(), 1);
    assert_eq!(node.next_stop().await.stream_key, "a");
    assert!(!publisher.ended().await.is_empty());
    let status = bench.control.stop_stream(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(bench.stream("a").await.unwrap_err().code(), tonic::Code::NotFound);
    let engine = bench.engine.clone();
    bench.drain().await;
    assert_eq!(engine.list_leases().await.unwrap(), []);
}

#[tokio::test]
async fn start_stream_is_idempotent_and_names_the_fields_that_are_not_for_it() {
    let mut bench = Bench::start(config()).await;
    let request = v1::StartStreamRequest { stream_key: "a".into(), ..Default::default() };
    for _ in 0..2 {
        let response = bench.control.start_stream(request.clone()).await.unwrap().into_inner();
        assert_eq!(response.stream.unwrap().state(), v1::StreamState::Waiting);
    }
    use tonic_types::StatusExt;
    for (field, request) in [
        ("stream_key", v1::StartStreamRequest { stream_key: "/".into(), ..request.clone() }),
        ("lease", v1::StartStreamRequest { lease: Some(v1::Lease::default()), ..request.clone() }),
        ("source_url", v1::StartStreamRequest { source_url: "rtmp://x".into(), ..request.clone() }),
        (
            "session_description",
            v1::StartStreamRequest { session_description: "v=0".into(), ..request.clone() },
        ),
    ] {
        let status = bench.control.start_stream(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    bench.drain().await;
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let engine = memory();
    let ingest = Ingest::bind_with(&config(), engine).await.unwrap();
    let table = ingest.table();
    let key = |key: &str| StreamKey::parse(key).unwrap();
    for n in 0..crate::streams::MAX_STREAMS {
        table.start(&key(&n.to_string()), Arming::default(), None).unwrap();
    }
    let error = table.start(&key("one-more"), Arming::default(), None).unwrap_err();
    assert_eq!(error.kind, svc_core::error::Kind::ResourceExhausted);
    table.stop(&key("7")).await.unwrap();
    table.start(&key("one-more"), Arming::default(), None).unwrap();
}

#[tokio::test]
async fn watchers_are_told_the_streams_that_are_there_then_each_change() {
    let mut bench = Bench::start(config()).await;
    let start = |key: &str| v1::StartStreamRequest { stream_key: key.into(), ..Default::default() };
    bench.control.start_stream(start("b")).await.unwrap();
    bench.control.start_stream(start("a")).await.unwrap();
    let request = v1::WatchStreamsRequest {};
    let mut events = bench.control.watch_streams(request).await.unwrap().into_inner();
    let mut next = async || {
        let event = events.message().await.unwrap().unwrap();
        (event.event(), event.stream.map(|stream| stream.stream_key).unwrap_or_default())
    };
    use v1::StreamEvent::{Added, Removed, Snapshot, SnapshotEnd};
    assert_eq!(next().await, (Snapshot, "a".into()));
    assert_eq!(next().await, (Snapshot, "b".into()));
    assert_eq!(next().await, (SnapshotEnd, String::new()));
    bench.control.start_stream(start("c")).await.unwrap();
    assert_eq!(next().await, (Added, "c".into()));
    let request = v1::StopStreamRequest { stream_key: "b".into(), ..Default::default() };
    bench.control.stop_stream(request).await.unwrap();
    assert_eq!(next().await, (Removed, "b".into()));
    bench.drain().await;
    assert!(events.message().await.is_ok_and(|event| event.is_none()), "the drain ends it");
}

#[tokio::test]
async fn a_drain_ends_publishers_and_releases_leases_but_not_the_readers() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    node.next_start().await;
    let engine = bench.engine.clone();
    let (_, codes) = tokio::join!(bench.drain(), publisher.ended());
    assert!(!codes.is_empty());
    assert_eq!(engine.list_leases().await.unwrap(), []);
    let received = std::iter::from_fn(|| node.try_next());
    assert!(
        !received
            .into_iter()
            .any(|received| matches!(received, Received::Stop(_) | Received::Feed(_)))
    );
}

mod http {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::{Bench, config};

    /// Status and body of one request.
    async fn call(bench: &Bench, head: &str, body: &str) -> (u16, serde_json::Value) {
        let mut stream = TcpStream::connect(bench.addresses.http).await.unwrap();
        let length = body.len();
        let request = format!(
            "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    const JSON: &str = "\r\nContent-Type: application/json";

    #[tokio::test]
    async fn the_prototypes_calls_start_list_and_stop_a_stream() {
        let bench = Bench::start(config()).await;
        assert_eq!(
            call(&bench, "GET /streams HTTP/1.1", "").await,
            (200, serde_json::json!({ "streams": [] }))
        );
        let start = format!("POST /start HTTP/1.1{JSON}; charset=utf-8");
        let (status, answer) = call(&bench, &start, r#"{"stream_key": "stream"}"#).await;
        assert_eq!((status, &answer["stream"]["stream_key"]), (200, &"stream".into()));
        assert_eq!(answer["stream"]["state"], "STREAM_STATE_WAITING");
        let (_, list) = call(&bench, "GET /streams HTTP/1.1", "").await;
        assert_eq!(list["streams"][0]["stream_key"], "stream");
        let stop = format!("POST /stop HTTP/1.1{JSON}");
        let (status, _) = call(&bench, &stop, r#"{"stream_key": "stream"}"#).await;
        assert_eq!(status, 200);
        let (status, answer) = call(&bench, &stop, r#"{"stream_key": "stream"}"#).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &"NOT_FOUND".into()));
        bench.drain().await;
    }

    #[tokio::test]
    async fn a_source_can_be_given_to_start() {
        let bench = Bench::start(config()).await;
        let start = format!("POST /start HTTP/1.1{JSON}");
        let body = r#"{"stream_key": "a", "source_url": "rtmp://127.0.0.1:1/live/a?token=s3cret"}"#;
        let (status, answer) = call(&bench, &start, body).await;
        assert_eq!(status, 200);
        let shown = "rtmp://127.0.0.1:1/live/a?token=***";
        assert_eq!(answer["stream"]["pull"]["source_url"], shown);
        let body = r#"{"stream_key": "a", "source_url": "rtmp://127.0.0.1:1/live/b"}"#;
        assert_eq!(call(&bench, &start, body).await.0, 409);
        bench.drain().await;
    }

    #[tokio::test]
    async fn what_is_no_call_is_refused_with_a_status_and_a_reason() {
        let bench = Bench::start(config()).await;
        let json = format!("POST /start HTTP/1.1{JSON}");
        for (head, body, wanted) in [
            (json.as_str(), "{", 400),
            (json.as_str(), r#"{"stream_key": "a b"}"#, 400),
            (json.as_str(), r#"{"key": "a"}"#, 400),
            ("POST /start HTTP/1.1", r#"{"stream_key": "a"}"#, 415),
            ("POST /start HTTP/1.1\r\nContent-Type: text/plain", "{}", 415),
        ] {
            let (status, answer) = call(&bench, head, body).await;
            assert_eq!(status, wanted, "{head} {body}");
            assert_eq!(answer["error"]["code"], "INVALID_ARGUMENT");
            assert!(answer["error"]["message"].as_str().unwrap().len() > 5);
        }
        bench.drain().await;
    }
}
