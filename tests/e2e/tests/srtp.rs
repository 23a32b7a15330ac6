//! SRTP as others have it: GStreamer's `srtpenc`, which is libsrtp, sends to a node.

use e2e::{
    clients::{Running, Transport, gst_launch},
    clips::{Units, clip, place},
    control::{metric, stream_control, until_live},
    process::Setup,
    reader::{AccessUnit, Depacketizer, Packet, Reader},
};
use media::{codec::MediaKind, srtp::MasterKey};
use proto::v1::StartStreamRequest;

/// Pictures that are compared: 4 s.
const PICTURES: usize = 100;

/// GStreamer sends the video of a clip to a port, sealed with a key of 28 bytes.
fn sending(clip: &std::path::Path, key: &[u8], port: u32) -> Running {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = gst_launch();
    command.args(["-q", "filesrc"]).arg(format!("location={}", clip.display()));
    command.args(["!", "flvdemux", "name=d", "d.video", "!", "queue", "!", "h264parse", "!"]);
    command.args(["rtph264pay", "pt=96", "config-interval=-1", "mtu=1200", "!"]);
    command.args(["srtpenc", "random-key=false", "rtp-cipher=aes-128-gcm", "rtp-auth=null"]);
    command.args(["rtcp-cipher=aes-128-gcm", "rtcp-auth=null"]).arg(format!("key={key}"));
    command.args(["!", "udpsink", "host=127.0.0.1", &format!("port={port}")]);
    Running::start(command)
}

#[tokio::test]
async fn what_libsrtp_seals_is_read_bit_for_bit_and_what_it_seals_with_another_key_is_not() {
    let clip = clip("small");
    let published = Units::of_clip(&clip);
    let gateway = Setup::both().start().await;
    let grpc = gateway.publish_grpc();
    let bytes: [u8; MasterKey::BYTES] = std::array::from_fn(|n| (31 * n + 5) as u8);
    let crypto = MasterKey::new(bytes).to_attribute();
    let session_description = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 5004 RTP/SAVP 96\r\n\
         a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=crypto:{crypto}\r\n"
    );
    let request =
        StartStreamRequest { stream_key: "gst".into(), session_description, ..Default::default() };
    let started = stream_control(&grpc).await.start_stream(request).await.unwrap().into_inner();
    let port = started.stream.unwrap().rtp_port;

    let stranger = sending(&clip, &[9; MasterKey::BYTES], port);
    e2e::eventually("packets of another key are counted", async || {
        let name = "publish_rtp_refused_total{reason=\"unauthentic\"}";
        (metric(&gateway.publish_http(), name).await > 10).then_some(())
    })
    .await;
    stranger.kill().await;

    let _sender = sending(&clip, &bytes, port);
    let stream = until_live(&grpc, "gst").await;
    assert!(!format!("{stream:?}{}", gateway.log()).contains(&crypto[20..]));
    let mut reader = Reader::play(&gateway.rtsp_url("gst"), Transport::Tcp).await.unwrap();
    let mut input = Depacketizer::new(MediaKind::Video, 0);
    let mut pictures = vec![];
    while pictures.len() < PICTURES {
        match reader.next().await.unwrap().expect("the stream ended") {
            Packet::Rtp { header, bytes, .. } => {
                let unit = input.push(&header, &bytes).unwrap();
                pictures.extend(unit.as_ref().map(AccessUnit::pictured));
            }
            Packet::Rtcp { .. } => {}
        }
    }
    assert!(place(&published.video, &pictures).is_some(), "other pictures");
}
