//! What real readers report by RTCP of how they receive, as GetStream shows it.

use std::time::Duration;

use e2e::{
    clients::{Publisher, Running, Transport, ffmpeg, gst_launch, rtsp_input, run},
    clips::clip,
    control::{streams, until_live},
    eventually,
    process::{Gateway, Setup},
};
use proto::v1::{Reader, ReaderReception, ReaderTransport};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    process::Command,
};

/// More than any jitter or round trip on one host, even a busy one; a wrong unit or clock rate is far beyond it.
const PLAUSIBLE: Duration = Duration::from_secs(2);

/// A gateway with a clip that is published as "cam".
async fn published() -> (Gateway, Running) {
    let gateway = Setup::both().start().await;
    let publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("cam"));
    until_live(&gateway.publish_grpc(), "cam").await;
    (gateway, publisher)
}

async fn readers(gateway: &Gateway) -> Vec<Reader> {
    let mut streams = streams(&gateway.publish_grpc()).await;
    streams.pop().map(|stream| stream.readers).unwrap_or_default()
}

async fn metrics(gateway: &Gateway) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", &format!("{}/metrics", gateway.publish_http())]);
    run(curl).await
}

/// Plays both tracks by GStreamer.
fn gstreamer(transport: Transport, url: &str) -> Running {
    let mut command = gst_launch();
    command.args(["-q", "rtspsrc", "name=s"]).arg(format!("location={url}"));
    command.arg(format!("protocols={}", transport.name()));
    for branch in ["rtph264depay", "rtpmp4gdepay"] {
        command.args(["s.", "!", "queue", "!", branch, "!", "fakesink"]);
    }
    Running::start(command)
}

/// Nothing lost, and times of a local host.
fn is_clean(client: &str, reception: &ReaderReception) {
    println!("{client}: {reception:?}");
    // GStreamer counts one packet more than it expected.
    assert!((-1..=0).contains(&reception.packets_lost), "{client}: {reception:?}");
    assert_eq!(reception.fraction_lost, 0, "{client}: {reception:?}");
    assert!(proto::std_duration(reception.jitter) > Duration::ZERO, "{client}: {reception:?}");
    assert!(reception.reported_at.is_some(), "{client}: {reception:?}");
    for time in [reception.jitter, reception.round_trip_time] {
        assert!(proto::std_duration(time) < PLAUSIBLE, "{client}: {reception:?}");
    }
}

#[tokio::test]
async fn gstreamer_and_ffmpeg_report_that_they_lose_nothing() {
    let (gateway, _publisher) = published().await;
    let url = gateway.rtsp_url("cam");
    // ffmpeg reports by UDP only.
    let mut command = ffmpeg();
    command.args(rtsp_input(Transport::Udp, &url)).args(["-f", "null", "-"]);
    let _clients =
        [gstreamer(Transport::Tcp, &url), gstreamer(Transport::Udp, &url), Running::start(command)];
    for (client, tracks, transport) in [
        ("GStreamer", 2, ReaderTransport::Tcp),
        ("GStreamer", 2, ReaderTransport::Udp),
        ("Lavf", 1, ReaderTransport::Udp),
    ] {
        let what = format!("{client} by {transport:?} reports, and answers a Sender Report");
        let receptions = eventually(&what, async || {
            let reader = readers(&gateway).await.into_iter().find(|reader| {
                reader.user_agent.contains(client) && reader.transport() == transport
            })?;
            let answers = |reception: &ReaderReception| reception.round_trip_time.is_some();
            let all = reader.receptions.len() >= tracks && reader.receptions.iter().all(answers);
            all.then_some(reader.receptions)
        })
        .await;
        receptions.iter().for_each(|reception| is_clean(client, reception));
    }
    let metrics = metrics(&gateway).await;
    for transport in ["tcp", "udp"] {
        let none =
            format!("rtmp2rtsp_publish_reader_packets_lost_total{{transport=\"{transport}\"}} 0\n");
        assert!(metrics.contains(&none), "{metrics}");
    }
}

/// Asks by RTSP, and takes 200 for an answer.
async fn ask(connection: &mut TcpStream, request: String) -> String {
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(connection.read_u8().await.expect("no answer"));
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
    answer
}

/// Sets up the video of "cam" over UDP to a pair of free ports; the connection, the ports, and where RTCP goes.
async fn set_up(url: &str) -> (TcpStream, [u16; 2], u16) {
    let free = [UdpSocket::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await];
    let [rtp, rtcp] = free.map(|socket| socket.unwrap().local_addr().unwrap().port());
    let address = url.trim_start_matches("rtsp://").split('/').next().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let transport = format!("Transport: RTP/AVP;unicast;client_port={rtp}-{rtcp}");
    let request = format!("SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: 1\r\n{transport}\r\n\r\n");
    let answer = ask(&mut connection, request).await;
    let ports = answer.split("server_port=").nth(1).unwrap();
    let to = ports.split(['-', ';', '\r']).nth(1).unwrap().parse().unwrap();
    (connection, [rtp, rtcp], to)
}

/// A part of what came by UDP is dropped before GStreamer's receiver has seen it.
#[tokio::test]
async fn what_gstreamer_loses_is_told() {
    const LOSS: f64 = 0.2;
    let (gateway, _publisher) = published().await;
    let url = gateway.rtsp_url("cam");
    let (mut connection, [rtp, rtcp], to) = set_up(&url).await;
    let mut command = gst_launch();
    command.args(["-q", "rtpbin", "name=b", "udpsrc", "address=127.0.0.1"]);
    command.arg(format!("port={rtp}")).arg("caps=application/x-rtp,media=(string)video,payload=(int)96,clock-rate=(int)90000,encoding-name=(string)H264");
    command.args(["!", "identity", &format!("drop-probability={LOSS}"), "!", "b.recv_rtp_sink_0"]);
    command.args(["b.", "!", "rtph264depay", "!", "fakesink"]);
    // It gets no Sender Report.
    command.args(["b.send_rtcp_src_0", "!", "udpsink", "host=127.0.0.1", "sync=false"]);
    command.args(["async=false", &format!("port={to}"), &format!("bind-port={rtcp}")]);
    let _receiver = Running::start(command);
    ask(&mut connection, format!("PLAY {url} RTSP/1.0\r\nCSeq: 2\r\n\r\n")).await;
    let (reader, reception) = eventually("it has told of a loss of many packets", async || {
        let reader = readers(&gateway).await.pop()?;
        let reception = *reader.receptions.first()?;
        (reception.packets_lost >= 50).then_some((reader, reception))
    })
    .await;
    println!("{reception:?} of {} packets", reader.packets_sent);
    let fraction = f64::from(reception.fraction_lost) / 256.0;
    assert!((LOSS / 3.0..LOSS * 2.0).contains(&fraction), "{reception:?}");
    assert!(f64::from(reception.packets_lost) < LOSS * 2.0 * f64::from(reader.packets_sent));
    assert_eq!(reception.round_trip_time, None, "without a Sender Report LSR is 0");
    assert!(proto::std_duration(reception.jitter) < PLAUSIBLE, "{reception:?}");
    let metrics = metrics(&gateway).await;
    let name = "rtmp2rtsp_publish_reader_packets_lost_total{transport=\"udp\"} ";
    let total = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert!(total.parse::<i32>().unwrap() >= reception.packets_lost, "{total}");
}
