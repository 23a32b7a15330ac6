//! Every publisher with every reader, over TCP and over UDP, in H.264 and AAC. Debian's VLC is not among the readers: it is built
//! without its RTSP client (live555).

use e2e::{
    clients::{Publisher, Transport, run},
    clips::{Units, clip},
    control::until_live,
    frames::{self, Filter},
    process::Setup,
    programmes::Programme,
    readers::{Cell, Published, READERS, Via, run_all},
};
use tokio::process::Command;

/// How much each reads.
const SECONDS: u32 = 3;

#[tokio::test]
async fn every_reader_plays_what_ffmpeg_publishes() {
    all_readers_play(Publisher::Ffmpeg).await;
}

#[tokio::test]
async fn every_reader_plays_what_rtmp2sink_publishes() {
    all_readers_play(Publisher::Rtmp2sink).await;
}

#[tokio::test]
async fn every_reader_plays_what_librtmp_publishes() {
    all_readers_play(Publisher::Rtmpsink).await;
}

async fn all_readers_play(publisher: Publisher) {
    let clip = clip("small");
    let published = Published {
        publisher: publisher.name(),
        programme: Programme { clip: "small", video: "h264", audio: "aac", filter: Filter::H264 },
        frames: frames::of_clip(&clip).await,
        units: Units::of_clip(&clip),
    };
    let gateway = Setup::both().start().await;
    let publishing = publisher.start(&clip, &gateway.rtmp_url("matrix"));
    until_live(&gateway.publish_grpc(), "matrix").await;
    let mut cells = Vec::new();
    for reader in READERS {
        for via in [Via::Tcp, Via::Udp] {
            let (published, url) = (&published, gateway.rtsp_url("matrix"));
            cells.push(Cell { reader, via, published, url, seconds: SECONDS, island: None });
        }
    }
    run_all(cells.iter().map(Cell::run), cells.len()).await;
    publishing.kill().await;
}

#[tokio::test]
async fn ffprobe_names_both_tracks() {
    let gateway = Setup::both().start().await;
    let publishing = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("probed"));
    until_live(&gateway.publish_grpc(), "probed").await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-rtsp_transport", transport.name(), "-show_entries"]);
        command.args(["stream=codec_name,width,height,sample_rate,channels", "-of", "csv"]);
        let printed = run({
            command.arg(gateway.rtsp_url("probed"));
            command
        })
        .await;
        assert!(printed.contains("stream,h264,320,180"), "{printed}");
        assert!(printed.contains("stream,aac,48000,2"), "{printed}");
    }
    publishing.kill().await;
}
