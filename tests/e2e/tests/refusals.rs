//! Every refusal, as a real client is told of it.

use e2e::{
    clients::{Publisher, Transport, ffmpeg, rtsp_input},
    clips::clip,
    control::{leases, registry, stream_control, streams, until_live},
    process::{Gateway, Setup, port_range},
    reader::{Connection, Reader},
};
use gateway::demo::{self, Refused};
use proto::v1::{
    AllocatePortRequest, Lease, ReleasePortRequest, StartStreamRequest, StopStreamRequest,
};
use tonic::Code;

/// A session description of one H.264 track.
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

/// The status that a publisher is refused with.
async fn refusal(gateway: &Gateway, key: &str) -> String {
    match demo::Publisher::connect(gateway.rtmp(), "stream", key).await {
        Ok(_) => panic!("{key} was let in"),
        Err(error) => error.downcast::<Refused>().expect("a refusal").0,
    }
}

/// What ffmpeg prints when it is refused.
async fn ffmpegs_words(gateway: &Gateway, key: &str) -> String {
    let output = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url(key)).output().await;
    assert!(!output.status.success(), "ffmpeg was let in");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn only_armed_keys_get_in_when_streams_do_not_start_by_themselves() {
    let gateway = Setup::both().with("ingest-auto-start", "false").start().await;
    assert_eq!(refusal(&gateway, "drone1").await, "NetStream.Publish.Denied");
    let words = ffmpegs_words(&gateway, "drone1").await;
    assert!(words.contains("Server error: this stream key is not started"), "{words}");

    let mut control = stream_control(&gateway.ingest_grpc()).await;
    let request = StartStreamRequest { stream_key: "drone1".into(), ..Default::default() };
    control.start_stream(request).await.unwrap();
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
}

#[tokio::test]
async fn a_key_that_cannot_be_is_denied_with_the_reason() {
    let gateway = Setup::both().start().await;
    assert_eq!(refusal(&gateway, "a//b").await, "NetStream.Publish.Denied");
    let words = ffmpegs_words(&gateway, "a//b").await;
    assert!(words.contains("Server error: a stream key has no leading"), "{words}");
}

#[tokio::test]
async fn a_second_publisher_of_a_live_key_has_a_bad_name_and_the_first_goes_on() {
    let gateway = Setup::both().start().await;
    let publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    assert_eq!(refusal(&gateway, "drone1").await, "NetStream.Publish.BadName");
    let words = ffmpegs_words(&gateway, "drone1").await;
    assert!(words.contains("Server error: another publisher is live"), "{words}");
    let mut reader = Reader::play(&gateway.rtsp_url("drone1"), Transport::Tcp).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    publisher.kill().await;
}

#[tokio::test]
async fn without_a_free_port_a_publisher_is_refused_and_let_in_when_there_is_one() {
    let (first, _) = port_range();
    let gateway = Setup::both().with_ports(first, first + 1).start().await;
    let publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("one"));
    let stream = until_live(&gateway.publish_grpc(), "one").await;
    assert_eq!(stream.rtp_port, u32::from(first));
    let words = ffmpegs_words(&gateway, "two").await;
    assert!(words.contains("Server error: no free RTP port"), "{words}");

    let mut control = stream_control(&gateway.ingest_grpc()).await;
    let request = StopStreamRequest { stream_key: "one".into(), ..Default::default() };
    control.stop_stream(request).await.unwrap();
    assert!(!publisher.output().await.status.success());
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("two"));
    until_live(&gateway.publish_grpc(), "two").await;
}

#[tokio::test]
async fn a_port_that_another_program_holds_is_passed_over() {
    let (first, last) = port_range();
    // Once the RTP port of a pair, once the RTCP port.
    let _held =
        [first, first + 3].map(|port| std::net::UdpSocket::bind(("0.0.0.0", port)).unwrap());
    let gateway = Setup::both().with_ports(first, last).start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    let stream = until_live(&gateway.publish_grpc(), "drone1").await;
    assert_eq!(stream.rtp_port, u32::from(first + 4));
    let leased = leases(&gateway.publish_grpc()).await;
    assert_eq!(leased.iter().map(|lease| lease.rtp_port).collect::<Vec<_>>(), [stream.rtp_port]);
}

#[tokio::test]
async fn without_the_registry_a_publisher_is_refused_at_once_and_let_in_when_it_is_there() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ingest = Setup::ingest(&format!("http://{address}")).start().await;
    let words = ffmpegs_words(&ingest, "drone1").await;
    assert!(words.contains("Server error: the registry cannot be reached"), "{words}");

    let publish = Setup::publish().with("publish-grpc-listen", &address.to_string());
    let publish = publish.start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &ingest.rtmp_url("drone1"));
    until_live(&publish.publish_grpc(), "drone1").await;
}

#[tokio::test]
async fn the_node_refuses_leases_and_descriptions_that_are_not_for_it() {
    let gateway = Setup::both().start().await;
    let url = gateway.publish_grpc();
    let mut control = stream_control(&url).await;
    let start = |session_description: &str, lease| StartStreamRequest {
        stream_key: "drone1".into(),
        session_description: session_description.into(),
        lease,
        ..Default::default()
    };
    let lease = Lease {
        lease_id: "x".into(),
        stream_key: "drone1".into(),
        node_id: "nobody".into(),
        rtp_port: 20_000,
        epoch: 1,
        owner_id: "me".into(),
        ttl: None,
    };
    let status = control.start_stream(start(SDP, Some(lease))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("nobody"), "{status}");

    for malformed in
        ["", "v=0", "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", "\u{0}\u{1}"]
    {
        let status = control.start_stream(start(malformed, None)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{malformed:?}");
        assert!(status.message().contains("session_description"), "{status}");
    }
    assert!(streams(&url).await.is_empty() && leases(&url).await.is_empty());

    let mut registry = registry(&url).await;
    let request = AllocatePortRequest {
        stream_key: "drone1".into(),
        owner_id: "me".into(),
        node_id: "nobody".into(),
        ..Default::default()
    };
    let status = registry.allocate_port(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("nobody"), "{status}");
    // Releasing what is gone is harmless.
    registry.release_port(ReleasePortRequest { lease_id: "gone".into() }).await.unwrap();
}

#[tokio::test]
async fn a_reader_is_refused_with_the_status_of_rfc_2326() {
    let gateway = Setup::both().start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let url = gateway.rtsp_url("drone1");
    let track = format!("{url}/trackID=0");
    let nobody = gateway.rtsp_url("nobody");
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let mut connection = Connection::open(&url).await.unwrap();
    for (method, url, headers, status) in [
        ("DESCRIBE", nobody.as_str(), "", 404),
        ("ANNOUNCE", &url, "", 405),
        ("SETUP", &track, "Transport: RTP/AVP;multicast\r\n", 461),
        ("SETUP", &url, tcp, 459),
        ("PLAY", &url, "Session: 1234\r\n", 454),
        ("PLAY", &url, "", 455),
        ("NONSENSE", &url, "", 501),
        ("SETUP", &track, tcp, 200),
        ("PLAY", &url, "", 200),
    ] {
        let response = connection.request(method, url, headers).await.unwrap();
        assert_eq!(response.status, status, "{method} {url} {headers}");
    }
    let mut command = ffmpeg();
    command.args(rtsp_input(Transport::Tcp, &nobody)).args(["-f", "null", "-"]);
    let output = e2e::clients::Running::start(command).output().await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("404"), "{output:?}");
}
