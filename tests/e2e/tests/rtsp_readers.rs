//! Readers with special wishes: through HTTP, through a WebSocket, before their publisher, at the live edge, by
//! multicast.

use bytes::{Buf as _, BytesMut};
use e2e::{
    clients::{Publisher, Running, ffmpeg, gst_launch, run},
    clips::{clip, place},
    control::{streams, until_live},
    eventually,
    frames::{self, Frame, Reading},
    island::Island,
    process::{Gateway, Setup},
};
use futures_util::{SinkExt as _, StreamExt as _};
use media::rtp::Header;
use proto::v1::ReaderTransport;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// A gateway with a clip that is published as "cam".
async fn published(setup: Setup) -> (Gateway, Running) {
    let gateway = setup.start().await;
    let publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("cam"));
    until_live(&gateway.publish_grpc(), "cam").await;
    (gateway, publisher)
}

fn hashes(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| frame.hash.clone()).collect()
}

#[tokio::test]
async fn ffmpeg_reads_through_http_bit_for_bit() {
    let of_clip = frames::of_clip(&clip("small")).await;
    let (gateway, _publisher) = published(Setup::both()).await;
    let url = gateway.rtsp_url("cam");
    let reading = Reading::of_input(&["-rtsp_transport", "http", "-i", &url], 3);
    eventually("it is listed as a TCP reader", async || {
        let streams = streams(&gateway.publish_grpc()).await;
        let reader = streams[0].readers.first()?;
        (reader.transport() == ReaderTransport::Tcp && reader.packets_sent > 0).then_some(())
    })
    .await;
    let read = reading.frames().await;
    assert!(read.video.len() > 60 && read.audio.len() > 120, "too few");
    assert!(place(&hashes(&of_clip.video), &hashes(&read.video)).is_some(), "other pictures");
    assert!(place(&hashes(&of_clip.audio), &hashes(&read.audio)).is_some(), "other sound");
    eventually("it is gone, both of its connections", async || {
        let mut metrics = Command::new("curl");
        metrics.args(["-sS", &format!("{}/metrics", gateway.publish_http())]);
        run(metrics).await.contains("rtmp2rtsp_publish_rtsp_connections 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn gstreamer_plays_through_http() {
    let (gateway, _publisher) = published(Setup::both()).await;
    let url = gateway.rtsp_url("cam").replace("rtsp://", "rtsph://");
    let mut command = gst_launch();
    command.args(["-q", "rtspsrc", "name=s", "latency=200"]).arg(format!("location={url}"));
    for branch in ["rtph264depay ! h264parse ! avdec_h264", "rtpmp4gdepay ! aacparse ! avdec_aac"] {
        let branch = format!("s. ! queue ! {branch} ! fakesink sync=false num-buffers=50");
        command.args(branch.split(' '));
    }
    run(command).await;
}

#[tokio::test]
async fn curl_is_told_what_is_not_to_be_had_by_http() {
    let (gateway, _publisher) = published(Setup::both()).await;
    let url = gateway.rtsp_url("cam").replace("rtsp://", "http://");
    for (headers, data, status) in [
        (&[][..], None, "400"),
        (&["x-sessioncookie: nobody"], Some("T1BUSU9OUw=="), "404"),
        (&["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8"], None, "426"),
    ] {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
        headers.iter().for_each(|header| {
            command.args(["-H", header]);
        });
        if let Some(data) = data {
            command.args(["-d", data]);
        }
        command.arg(&url);
        assert_eq!(run(command).await, status, "{headers:?}");
    }
}

#[tokio::test]
async fn an_independent_websocket_carries_rtsp() {
    let (gateway, _publisher) = published(Setup::both()).await;
    let url = gateway.rtsp_url("cam");
    let mut request = url.replace("rtsp://", "ws://").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "rtsp.onvif.org".parse().unwrap());
    let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "rtsp.onvif.org");
    for (cseq, request) in [
        format!("DESCRIBE {url} RTSP/1.0"),
        format!("SETUP {url}/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP/TCP;interleaved=0-1"),
        format!("PLAY {url} RTSP/1.0"),
    ]
    .iter()
    .enumerate()
    {
        let text = format!("{request}\r\nCSeq: {cseq}\r\n\r\n");
        socket.send(Message::binary(text.into_bytes())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap().into_data();
        assert!(answer.starts_with(b"RTSP/1.0 200 OK\r\n"), "{answer:?}");
    }
    let mut numbers = vec![];
    while numbers.len() < 100 {
        let message = socket.next().await.unwrap().unwrap().into_data();
        let mut frame = BytesMut::from(&message[..]);
        assert_eq!(frame.get_u8(), b'$');
        let (channel, length) = (frame.get_u8(), frame.get_u16());
        assert_eq!(frame.len(), usize::from(length), "one frame a message");
        if channel == 0 {
            numbers.push(Header::parse(&frame.freeze()).unwrap().sequence_number);
        }
    }
    assert!(numbers.is_sorted_by(|a, b| a.wrapping_add(1) == *b), "{numbers:?}");
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(message.is_ok(), "{message:?}");
    }
}

#[tokio::test]
async fn ffmpeg_may_come_before_the_publisher_and_start_at_the_live_edge() {
    let gateway = Setup::both().start().await;
    let url = gateway.rtsp_url("cam") + "?wait=60s&start=live";
    let mut command = ffmpeg();
    command.args(["-rtsp_transport", "tcp", "-i", &url, "-t", "2", "-f", "null", "-"]);
    let reader = Running::start(command);
    eventually("it waits", async || {
        let mut metrics = Command::new("curl");
        metrics.args(["-sS", &format!("{}/metrics", gateway.publish_http())]);
        run(metrics).await.contains("rtmp2rtsp_publish_rtsp_waiters 1\n").then_some(())
    })
    .await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("cam"));
    let output = reader.output().await;
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.is_empty(), "{printed}");
}

/// A gateway on an island that has groups, with a clip that is published as "cam".
async fn published_on(island: &Island) -> (Gateway, Running) {
    let gateway = Setup::both()
        .with("rtsp-multicast", "239.255.42.0/24")
        .in_namespace(island.name(), "127.0.0.1")
        .start()
        .await;
    let mut publisher = island.on("ffmpeg");
    publisher.args(["-v", "error", "-nostdin", "-re", "-i"]).arg(clip("small"));
    publisher.args(["-c", "copy", "-f", "flv", &gateway.rtmp_url("cam")]);
    (gateway, Running::start(publisher))
}

#[tokio::test]
async fn the_only_reader_of_a_host_is_known_by_what_it_reports_to_its_group() {
    let island = Island::new().await;
    let (gateway, _publisher) = published_on(&island).await;
    let metric = async |name: &str| {
        let mut metrics = island.on("curl");
        metrics.args(["-sS", &format!("{}/metrics", gateway.publish_http())]);
        let name = format!("rtmp2rtsp_publish_{name}{{transport=\"multicast\"}} ");
        let metrics = run(metrics).await;
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok())
    };
    let url = gateway.rtsp_url("cam") + "?wait=60s";
    let mut reader = island.on("ffmpeg");
    reader.args(["-v", "error", "-nostdin", "-rtsp_transport", "udp_multicast", "-i", &url]);
    reader.args(["-f", "null", "-"]);
    let mut player = island.moved(&gst_launch());
    player.args(["-q", "rtspsrc", "name=s", "protocols=udp-mcast", &format!("location={url}")]);
    player.args(["s.", "!", "rtph264depay", "!", "fakesink"]);
    let mut before = 0;
    for client in [reader, player] {
        let client = Running::start(client);
        before = eventually("it reports", async || {
            metric("reader_reports_total").await.filter(|&reports| reports > before)
        })
        .await;
        client.kill().await;
        eventually("it has gone", async || metric("readers").await.filter(|&n| n == 0)).await;
    }
}

#[tokio::test]
async fn ffmpeg_and_gstreamer_play_by_multicast() {
    let island = Island::new().await;
    let (gateway, _publisher) = published_on(&island).await;
    let url = gateway.rtsp_url("cam");
    // Whoever comes first waits for the publisher.
    let mut reader = island.on("ffmpeg");
    reader.args(["-v", "error", "-nostdin", "-rtsp_transport", "udp_multicast", "-i"]);
    reader.args([&format!("{url}?wait=60s"), "-t", "4", "-f", "null", "-"]);
    let mut player = island.moved(&gst_launch());
    player.args(["-q", "rtspsrc", "name=s", "latency=200", "protocols=udp-mcast"]);
    player.arg(format!("location={url}?wait=60s"));
    for branch in ["rtph264depay ! h264parse ! avdec_h264", "rtpmp4gdepay ! aacparse ! avdec_aac"] {
        let branch = format!("s. ! queue ! {branch} ! fakesink sync=false num-buffers=50");
        player.args(branch.split(' '));
    }
    let (reader, player) = (Running::start(reader), Running::start(player));
    eventually("both are listed as readers by multicast", async || {
        let mut metrics = island.on("curl");
        metrics.args(["-sS", &format!("{}/metrics", gateway.publish_http())]);
        let line = "rtmp2rtsp_publish_readers{transport=\"multicast\"} 2\n";
        run(metrics).await.contains(line).then_some(())
    })
    .await;
    player.success().await;
    reader.success().await;
}
