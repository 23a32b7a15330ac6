//! Streams that are pulled, from RTMP servers in this process.

use svc_core::config::Takeover;
use tokio::net::{TcpListener, TcpStream};
use tonic_types::StatusExt;

use super::*;
use crate::{StartError, testing::TestRemote};

type Remote = TestRemote<TcpStream>;

/// A server that listens.
struct Server {
    listener: TcpListener,
}

impl Server {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("rtmp://me:hush@{}/live/cam1?token=s3cret", self.listener.local_addr().unwrap())
    }

    fn request(&self, key: &str) -> v1::StartStreamRequest {
        request(key, &self.url())
    }

    /// The next that asks for a stream.
    async fn asked(&self) -> Remote {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (socket, _) = accepted.expect("nobody connects").unwrap();
        TestRemote::accept(socket).await
    }

    /// Plays to the next that asks: headers and a GOP.
    async fn play(&self, from_ms: u32) -> Remote {
        let mut remote = self.asked().await;
        remote.play().await;
        remote.video(0, avc_header(SPS, PPS)).await;
        remote.audio(0, aac_header()).await;
        send(&mut remote, from_ms).await;
        remote
    }
}

/// A GOP of 10 pictures of 25 a second, with an audio frame behind each.
async fn send(remote: &mut Remote, from_ms: u32) {
    for n in 0..10 {
        let ms = from_ms + n * 40;
        remote.video(ms, avc_picture(n == 0, 0, 2000, n as u8)).await;
        remote.audio(ms, aac_frame(300, n as u8)).await;
    }
}

fn request(key: &str, url: &str) -> v1::StartStreamRequest {
    v1::StartStreamRequest { stream_key: key.into(), source_url: url.into(), ..Default::default() }
}

fn pull_state(stream: Option<&v1::Stream>) -> Option<v1::PullState> {
    stream?.pull.as_ref().map(|pull| pull.state())
}

async fn start(
    bench: &mut Bench,
    request: v1::StartStreamRequest,
) -> Result<v1::Stream, tonic::Status> {
    Ok(bench.control.start_stream(request).await?.into_inner().stream.unwrap())
}

#[tokio::test]
async fn a_pulled_stream_is_sent_to_a_node_and_goes_on_on_the_same_leg_when_the_server_is_back() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let server = Server::start().await;
    let stream = start(&mut bench, server.request("cam1")).await.unwrap();
    assert_eq!((stream.state(), stream.publisher), (v1::StreamState::Waiting, None));
    let pull = stream.pull.unwrap();
    assert_eq!(pull.state(), v1::PullState::Connecting);
    assert!(pull.source_url.ends_with("/live/cam1?token=***"), "{}", pull.source_url);

    let remote = server.play(50_000).await;
    assert_eq!(remote.asked, ("live".into(), "cam1?token=s3cret".into()));
    let (request, description) = node.next_start().await;
    assert_eq!((request.stream_key.as_str(), description.tracks.len()), ("cam1", 2));
    bench.until("cam1", |s| pull_state(s) == Some(v1::PullState::Playing)).await;
    let stream = bench.stream("cam1").await.unwrap();
    let publisher = stream.publisher.unwrap();
    assert_eq!(publisher.peer_address, server.listener.local_addr().unwrap().to_string());
    assert_eq!((publisher.app.as_str(), publisher.user_agent.as_str()), ("live", ""));
    let mut last = node.next_rtp().await.0;
    while last.payload_type != 96 {
        last = node.next_rtp().await.0;
    }

    drop(remote);
    let backs_off = |s: Option<&v1::Stream>| pull_state(s) == Some(v1::PullState::BackingOff);
    bench.until("cam1", backs_off).await;
    bench.until("cam1", |s| s.is_some_and(|s| s.state() == v1::StreamState::Held)).await;
    let pull = bench.stream("cam1").await.unwrap().pull.unwrap();
    assert_eq!(pull.last_error, "the remote closed the connection");
    let _remote = server.play(0).await;
    bench.until("cam1", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let mut video = 0;
    while video < 12 {
        match node.next().await {
            Received::Rtp(packet) => {
                let header = media::rtp::Header::parse(&packet).unwrap();
                if header.payload_type == 96 {
                    assert_eq!(header.ssrc, last.ssrc);
                    assert_eq!(header.sequence_number, last.sequence_number.wrapping_add(1));
                    (last, video) = (header, video + 1);
                }
            }
            Received::Start(_) | Received::Stop(_) | Received::Feed(_) => panic!("the leg stays"),
            Received::Rtcp(..) => {}
        }
    }
    bench.drain().await;
}

#[tokio::test]
async fn a_pull_stays_when_it_fails_and_its_stream_ends_by_stop_stream_only() {
    let mut config = config();
    config.ingest.hold = Duration::from_millis(50);
    let (mut bench, mut node) = Bench::with_node(config).await;
    let server = Server::start().await;
    start(&mut bench, server.request("cam1")).await.unwrap();
    server.asked().await.refuse("NetStream.Play.StreamNotFound", "no cam1?token=s3cret").await;
    bench.until("cam1", |s| pull_state(s) == Some(v1::PullState::BackingOff)).await;
    let stream = bench.stream("cam1").await.unwrap();
    assert_eq!((stream.state(), bench.leases().await), (v1::StreamState::Waiting, 0));
    let pull = stream.pull.unwrap();
    assert_eq!(pull.attempts, 1);
    assert!(pull.last_error.contains("StreamNotFound (no cam1?token=***)"), "{}", pull.last_error);

    drop(server.play(0).await);
    assert_eq!(node.next_stop().await.stream_key, "cam1", "nobody came back in time");
    bench.until("cam1", |s| s.is_some_and(|s| s.state() == v1::StreamState::Waiting)).await;
    let mut remote = server.play(0).await;
    node.next_rtp().await;
    let stop = v1::StopStreamRequest { stream_key: "cam1".into(), ..Default::default() };
    let (stopped, ended) = tokio::join!(bench.control.stop_stream(stop), remote.ended());
    assert!(stopped.unwrap().into_inner().stream.unwrap().pull.is_some());
    assert!(ended, "deleteStream");
    assert_eq!(bench.stream("cam1").await.unwrap_err().code(), tonic::Code::NotFound);
    // Nor does it come again: the key is free for another.
    let other = request("cam1", "rtmp://127.0.0.1:1/live/other");
    start(&mut bench, other).await.unwrap();
    bench.drain().await;
}

#[tokio::test]
async fn starting_again_is_idempotent_for_the_same_source_and_already_exists_for_another() {
    let mut bench = Bench::start(config()).await;
    let server = Server::start().await;
    for _ in 0..2 {
        let stream = start(&mut bench, server.request("pulled")).await.unwrap();
        assert!(stream.pull.is_some());
        assert_eq!(start(&mut bench, request("armed", "")).await.unwrap().pull, None);
    }
    let other_secret = server.url().replace("hush", "loud");
    for (key, url) in [("pulled", ""), ("pulled", &other_secret), ("armed", &server.url())] {
        let status = start(&mut bench, request(key, url)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::AlreadyExists, "{key} {url}");
        assert!(!format!("{status:?}").contains("s3cret"), "{status:?}");
    }
    bench.drain().await;
}

#[tokio::test]
async fn what_is_no_source_is_an_invalid_argument_that_does_not_repeat_it() {
    let mut bench = Bench::start(config()).await;
    for url in [
        "http://me:hush@host/live/a",
        "rtmp://me:hush@/live/a",
        "rtmp://me:hush@host:0/live/a",
        "rtmp://me:hush@host/live",
        "rtmp://me:hush@host/live/a b",
    ] {
        let status = start(&mut bench, request("a", url)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{url}");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "source_url");
        assert!(!format!("{status:?}").contains("hush"), "{status:?}");
    }
    assert_eq!(bench.stream("a").await.unwrap_err().code(), tonic::Code::NotFound);
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_meets_a_pull_as_it_meets_another_publisher() {
    for (policy, code) in
        [(Takeover::Reject, Some("NetStream.Publish.BadName")), (Takeover::Backup, None)]
    {
        let mut config = config();
        config.ingest.takeover = policy;
        let (mut bench, mut node) = Bench::with_node(config).await;
        let server = Server::start().await;
        start(&mut bench, server.request("cam1")).await.unwrap();
        let remote = server.play(0).await;
        node.next_rtp().await;
        let pushed = TestPublisher::publish(bench.addresses.rtmp, "cam1").await;
        assert_eq!(pushed.as_ref().err().map(String::as_str), code, "{policy:?}");
        if pushed.is_ok() {
            bench.until("cam1", |s| s.is_some_and(|s| s.standby.is_some())).await;
        }
        drop((remote, pushed));
        bench.drain().await;
    }
}

#[tokio::test]
async fn a_pull_that_a_publisher_took_over_from_waits_until_that_one_is_gone() {
    let mut config = config();
    config.ingest.takeover = Takeover::Takeover;
    let (mut bench, mut node) = Bench::with_node(config).await;
    let server = Server::start().await;
    start(&mut bench, server.request("cam1")).await.unwrap();
    let mut remote = server.play(0).await;
    node.next_rtp().await;
    let pushed = bench.publish("cam1").await;
    let pusher = pushed.local_address().to_string();
    assert!(remote.ended().await, "the pull is ended");
    for attempts in 1..3 {
        bench
            .until("cam1", |s| {
                s.is_some_and(|s| s.pull.as_ref().is_some_and(|p| p.attempts == attempts))
            })
            .await;
        let stream = bench.stream("cam1").await.unwrap();
        assert_eq!(
            stream.publisher.unwrap().peer_address,
            pusher,
            "the pull does not take it back"
        );
        assert!(stream.pull.unwrap().last_error.starts_with("not taken: another publisher"));
        if attempts == 1 {
            // It asks again, and is not taken.
            assert!(server.play(0).await.ended().await);
        }
    }
    drop(pushed);
    let _remote = server.play(0).await;
    bench.until("cam1", |s| pull_state(s) == Some(v1::PullState::Playing)).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_pull_stands_by_under_backup_while_a_publisher_is_live() {
    let mut config = config();
    config.ingest.takeover = Takeover::Backup;
    config.ingest.stall = Duration::from_secs(3600);
    let (mut bench, mut node) = Bench::with_node(config).await;
    let mut pushed = bench.publish("cam1").await;
    send_headers(&mut pushed).await;
    send_gop(&mut pushed, 0).await;
    node.next_rtp().await;
    // A stream that a publisher started by itself is not started yet: it takes a source.
    let server = Server::start().await;
    start(&mut bench, server.request("cam1")).await.unwrap();
    let _remote = server.play(0).await;
    let address = server.listener.local_addr().unwrap().to_string();
    bench
        .until("cam1", |s| {
            s.and_then(|s| s.standby.as_ref()).is_some_and(|s| s.peer_address == address)
        })
        .await;
    drop(pushed);
    bench
        .until("cam1", |s| {
            s.and_then(|s| s.publisher.as_ref()).is_some_and(|p| p.peer_address == address)
        })
        .await;
    bench.drain().await;
}

#[tokio::test]
async fn without_a_node_a_pull_is_not_taken_and_says_why() {
    let mut bench = Bench::start(config()).await;
    let server = Server::start().await;
    start(&mut bench, server.request("cam1")).await.unwrap();
    let mut remote = server.play(0).await;
    remote.ended().await;
    bench.until("cam1", |s| pull_state(s) == Some(v1::PullState::BackingOff)).await;
    let pull = bench.stream("cam1").await.unwrap().pull.unwrap();
    assert!(pull.last_error.starts_with("not taken: no node"), "{}", pull.last_error);
    bench.drain().await;
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_refused_at_the_start() {
    let path = std::env::temp_dir().join(format!("rtmp2rtsp-ca-{}", std::process::id()));
    let mut config = config();
    config.ingest.pull_ca_file = path.to_str().unwrap().to_owned();
    for (text, problem) in [
        (None, "No such file"),
        (Some(""), "holds no certificate"),
        (
            Some("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
            "cannot be an authority",
        ),
        (Some("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"), "base64"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let refused = Ingest::bind_with(&config, memory()).await.err().expect("it starts");
        assert!(matches!(refused, StartError::PullCaFile { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.starts_with("ingest.pull_ca_file = ") && text.contains(problem), "{text}");
    }
    std::fs::remove_file(path).unwrap();
}
