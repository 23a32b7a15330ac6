//! Streams that are pulled from a real server, nginx with nginx-rtmp, and one that it pushes.

use e2e::{
    clients::{Publisher, Running, Transport, ffmpeg, rtsp_input},
    clips::clip,
    control::{stream_control, streams, until_live},
    eventually,
    follow::{follow, ordered},
    frames::{self, Frames, Reading},
    interop::{Cell, Outcome, record},
    nginx::{Authority, Nginx},
    process::{Gateway, Setup},
    readers::Via,
};
use proto::v1::{Pull, PullState, StartStreamRequest, StopStreamRequest, Stream, StreamState};
use svc_core::drain::Shutdown;
use tokio::sync::oneshot;

/// What has to be read of a clip of 12 s at the least.
const SECONDS: f64 = 8.0;
/// How often a server is killed.
const KILLS: usize = 3;

async fn start(gateway: &Gateway, key: &str, url: &str) -> Stream {
    let mut control = stream_control(&gateway.ingest_grpc()).await;
    let request = StartStreamRequest {
        stream_key: key.to_owned(),
        source_url: url.to_owned(),
        ..Default::default()
    };
    let started = control.start_stream(request).await.expect("StartStream").into_inner();
    started.stream.expect("a stream")
}

async fn pull(gateway: &Gateway) -> Pull {
    streams(&gateway.ingest_grpc()).await.remove(0).pull.expect("it is pulled")
}

/// Waits until the pull is as wanted.
async fn until(gateway: &Gateway, what: &str, wanted: impl Fn(&Pull) -> bool) -> Pull {
    eventually(what, async || Some(pull(gateway).await).filter(&wanted)).await
}

/// Reads a stream whose publisher ends to its end, by TCP and UDP, and holds it against what was published.
/// Debian's ffmpeg reads to the end what `publisher`, as docs/interop.md names it, makes of what was published.
async fn read_to_the_end(
    gateway: &Gateway,
    key: &str,
    publisher: &'static str,
    published: &Frames,
) {
    let url = gateway.rtsp_url(key);
    let read = async |transport| {
        let read = Reading::of_url(&url, transport, None).frames().await;
        frames::compare_to_the_end(
            &format!("{key} over {transport:?}"),
            published,
            &read,
            0,
            SECONDS,
        );
        for codec in ["h264", "aac"] {
            record(&Cell {
                publisher,
                codec,
                reader: "ffmpeg 5.1",
                way: Via::from(transport).name(),
                outcome: Outcome::Exact,
                seconds: SECONDS as u32,
            });
        }
    };
    tokio::join!(read(Transport::Tcp), read(Transport::Udp));
}

#[tokio::test]
async fn what_ffmpeg_publishes_to_nginx_is_pulled_and_read_bit_for_bit_and_at_its_times() {
    let clip = clip("flash");
    let published = frames::of_clip(&clip).await;
    let nginx = Nginx::start().await;
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let stream = start(&gateway, "pulled", &nginx.url("live/cam1?token=s3cret")).await;
    assert_eq!((stream.state(), stream.publisher), (StreamState::Waiting, None));
    let shown = nginx.url("live/cam1?token=***");
    assert_eq!(pull(&gateway).await.source_url, shown);
    let publisher = Publisher::Ffmpeg.start(&clip, &nginx.url("live/cam1"));
    until_live(&gateway.publish_grpc(), "pulled").await;
    let shown = until(&gateway, "it plays", |pull| pull.state() == PullState::Playing).await;
    assert_eq!((shown.attempts, shown.last_error.as_str()), (0, ""));
    let stream = streams(&gateway.ingest_grpc()).await.remove(0);
    assert_eq!(stream.publisher.unwrap().peer_address, nginx.rtmp().to_string());
    read_to_the_end(&gateway, "pulled", "nginx-rtmp, pulled", &published).await;
    publisher.success().await;
    // It waits for more until it is stopped.
    let ended = until(&gateway, "the remote's end is seen", |pull| pull.attempts > 0).await;
    assert_eq!(ended.last_error, "the remote ended the stream");
    let mut control = stream_control(&gateway.ingest_grpc()).await;
    let stop = StopStreamRequest { stream_key: "pulled".to_owned(), ..Default::default() };
    control.stop_stream(stop).await.expect("StopStream");
    assert_eq!(streams(&gateway.ingest_grpc()).await, []);
    assert!(!gateway.log().contains("s3cret"), "{}", gateway.log());
}

#[tokio::test]
async fn readers_go_on_in_their_sessions_while_nginx_is_killed_and_started_again() {
    let mut nginx = Nginx::start().await;
    let gateway = Setup::both().start().await;
    let clip = clip("small");
    let mut publisher = Publisher::Ffmpeg.start(&clip, &nginx.url("live/cam1"));
    start(&gateway, "pulled", &nginx.url("live/cam1")).await;
    until_live(&gateway.publish_grpc(), "pulled").await;
    let url = gateway.rtsp_url("pulled");
    let mut followers = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let (stop, stopped) = oneshot::channel();
        followers.push((stop, tokio::spawn(follow(url.clone(), transport, stopped))));
    }
    let played = async |at_least: u32| {
        eventually("media flows", async || {
            let stream = streams(&gateway.publish_grpc()).await.into_iter().next()?;
            let units = stream.counters?.video_access_units;
            (units >= at_least).then_some(units)
        })
        .await
    };
    let mut units = played(25).await;
    for failures in 1..=KILLS {
        nginx.kill().await;
        publisher.output().await;
        until(&gateway, "it backs off", |pull| pull.attempts as usize >= failures).await;
        nginx.start_again().await;
        publisher = Publisher::Ffmpeg.start(&clip, &nginx.url("live/cam1"));
        units = played(units + 50).await;
    }
    assert_eq!(streams(&gateway.publish_grpc()).await[0].readers.len(), followers.len());
    for (stop, follower) in followers {
        stop.send(()).unwrap();
        // Lost packets and another SSRC are errors of the follower.
        let [video, audio] = follower.await.unwrap();
        let keyframes = video.iter().filter(|u| u.nal_types().contains(&5)).count();
        assert!(keyframes > KILLS, "{keyframes} keyframes");
        // A B-frame is shown before the picture it follows, by some pictures.
        assert!(ordered(&video, 3 * 3600), "pictures run back");
        assert!(ordered(&audio, 0), "sound runs back");
    }
}

#[tokio::test]
async fn a_stream_that_nginx_does_not_have_is_shown_as_missing_until_it_has() {
    let nginx = Nginx::start().await;
    let gateway = Setup::both().start().await;
    start(&gateway, "pulled", &nginx.url("strict/cam1?token=s3cret")).await;
    let missing = until(&gateway, "it backs off", |pull| pull.attempts > 1).await;
    let expected = "the remote has no such stream: NetStream.Play.StreamNotFound (No such stream)";
    assert_eq!(missing.last_error, expected);
    let stream = streams(&gateway.ingest_grpc()).await.remove(0);
    assert_eq!((stream.state(), stream.legs), (StreamState::Waiting, vec![]));
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &nginx.url("strict/cam1"));
    until(&gateway, "it plays", |pull| pull.state() == PullState::Playing).await;
    until_live(&gateway.publish_grpc(), "pulled").await;
}

#[tokio::test]
async fn a_server_or_app_that_is_not_there_is_shown_as_what_it_is() {
    let mut nginx = Nginx::start().await;
    let gateway = Setup::both().start().await;
    start(&gateway, "pulled", &nginx.url("nothing/cam1")).await;
    let shown = until(&gateway, "it backs off", |pull| pull.attempts > 0).await;
    assert_eq!(shown.last_error, "the remote closed the connection");
    nginx.kill().await;
    until(&gateway, "it is refused", |pull| {
        pull.last_error.starts_with("no connection: ") && pull.last_error.contains("refused")
    })
    .await;
}

#[tokio::test]
async fn rtmps_is_pulled_where_the_certificate_is_believed_and_only_there() {
    let authority = Authority::new().await;
    let nginx = Nginx::secured(&authority).await;
    let clip = clip("flash");
    let published = frames::of_clip(&clip).await;
    let ca_file = authority.file.to_str().unwrap();
    let gateway =
        Setup::both().with("ingest-pull-ca-file", ca_file).with("ingest-hold", "2s").start().await;
    let stranger = Authority::new().await;
    let stranger_file = stranger.file.to_str().unwrap();
    let other = Setup::both().with("ingest-pull-ca-file", stranger_file).start().await;
    let port = nginx.tls_port();
    let url = format!("rtmps://localhost:{port}/live/cam1");
    start(&other, "pulled", &url).await;
    let refused = until(&other, "it backs off", |pull| pull.attempts > 0).await;
    assert_eq!(
        refused.last_error,
        "TLS: the certificate is issued by nobody whom the system or ingest.pull_ca_file names"
    );

    start(&gateway, "pulled", &url).await;
    let publisher = Publisher::Ffmpeg.start(&clip, &nginx.url("live/cam1"));
    until_live(&gateway.publish_grpc(), "pulled").await;
    read_to_the_end(&gateway, "pulled", "nginx, pulled by RTMPS", &published).await;
    publisher.success().await;

    // The same server by a name that is not in its certificate, and one that does not speak TLS.
    for (key, url, problem) in [
        ("name", format!("rtmps://127.0.0.1:{port}/live/cam1"), "not valid for name"),
        ("plain", format!("rtmps://localhost:{}/live/cam1", nginx.rtmp().port()), "no answer"),
    ] {
        start(&gateway, key, &url).await;
        let shown = eventually("it backs off", async || {
            let streams = streams(&gateway.ingest_grpc()).await;
            let stream = streams.into_iter().find(|stream| stream.stream_key == key)?;
            stream.pull.filter(|pull| pull.attempts > 0)
        })
        .await;
        assert!(shown.last_error.starts_with("TLS: "), "{}", shown.last_error);
        assert!(shown.last_error.contains(problem), "{}", shown.last_error);
    }
}

#[tokio::test]
async fn our_own_demo_is_pulled_from_nginx_and_decodes_without_a_line() {
    let nginx = Nginx::start().await;
    let shutdown = Shutdown::new();
    let demo = tokio::spawn(gateway::demo::run(nginx.rtmp(), shutdown.clone()));
    let gateway = Setup::both().start().await;
    start(&gateway, "from-afar", &nginx.url("live/demo")).await;
    until_live(&gateway.publish_grpc(), "from-afar").await;
    let mut decode = ffmpeg();
    let url = gateway.rtsp_url("from-afar");
    decode.args(rtsp_input(Transport::Tcp, &url)).args(["-t", "12", "-f", "null", "-"]);
    Running::start(decode).silent_success().await;
    shutdown.start_drain();
    demo.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_nginx_pushes_to_us_is_read_bit_for_bit_and_at_its_times() {
    let clip = clip("flash");
    let published = frames::of_clip(&clip).await;
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let nginx = Nginx::pushing(&gateway.rtmp_url("pushed")).await;
    let publisher = Publisher::Ffmpeg.start(&clip, &nginx.url("relay/cam1"));
    until_live(&gateway.publish_grpc(), "pushed").await;
    read_to_the_end(&gateway, "pushed", "nginx-rtmp, pushing", &published).await;
    publisher.success().await;
}
