//! The offline picture: who plays a stream goes on when its publisher stays away, and when it comes back.

use e2e::{
    clients::{Running, Transport, newest_ffmpeg, newest_publishes, rtsp_input},
    clips::clip,
    control::{stream_control, streams, until_live},
    eventually,
    process::{Gateway, Setup},
};
use proto::v1::{StartStreamRequest, Stream, StreamState};

/// Every codec that there is a picture or silence of.
const CLIPS: [&str; 6] = ["small", "hevc_aac", "av1_aac", "vp9_opus", "h264_mp3", "h264_pcma"];

async fn ingested(gateway: &Gateway, key: &str, wanted: impl Fn(&Stream) -> bool) {
    eventually("the stream is as wanted", async || {
        let all = streams(&gateway.ingest_grpc()).await;
        all.into_iter().find(|stream| stream.stream_key == key && wanted(stream)).map(drop)
    })
    .await;
}

/// The newest ffmpeg decodes so many seconds of both tracks without a line of error.
fn decodes(url: &str, transport: Transport, seconds: &str) -> Running {
    let mut decode = newest_ffmpeg();
    decode.args(rtsp_input(transport, url)).args(["-t", seconds, "-f", "null", "-"]);
    Running::start(decode)
}

async fn goes_on_offline(gateway: &Gateway, name: &str) {
    let request =
        StartStreamRequest { stream_key: name.into(), offline_picture: true, ..Default::default() };
    stream_control(&gateway.ingest_grpc()).await.start_stream(request).await.expect("StartStream");
    let (clip, rtmp, url) = (clip(name), gateway.rtmp_url(name), gateway.rtsp_url(name));
    let publisher = newest_publishes(&clip, &rtmp, &[], &[]);
    until_live(&gateway.publish_grpc(), name).await;
    // From before the publisher is killed until after it has come back.
    let from_before = decodes(&url, Transport::Tcp, "16");
    ingested(gateway, name, |s| s.counters.unwrap().keyframes >= 3).await;
    publisher.kill().await;
    ingested(gateway, name, |s| s.state() == StreamState::Waiting && s.offline_picture).await;
    // A picture a second and silence are a stream as any other, to who comes now.
    decodes(&url, Transport::Tcp, "4").silent_success().await;
    let publisher = newest_publishes(&clip, &rtmp, &[], &[]);
    ingested(gateway, name, |s| s.state() == StreamState::Live && !s.offline_picture).await;
    from_before.silent_success().await;
    publisher.kill().await;
}

#[tokio::test]
async fn readers_of_every_codec_get_a_picture_and_silence_while_the_publisher_is_away() {
    let gateway = Setup::both().arg("--ingest-hold=1s").start().await;
    futures_util::future::join_all(CLIPS.map(|name| goes_on_offline(&gateway, name))).await;
}
