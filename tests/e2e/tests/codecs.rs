//! Every codec: published by an ffmpeg that knows Enhanced RTMP, and HEVC as it was published before there was one; read by the newest
//! ffmpeg bit for bit, and by every reader that knows the codec.

use e2e::{
    clients::{Running, Transport, newest_ffmpeg, newest_publishes, rtsp_input},
    clips::clip,
    control::until_live,
    frames::{self, Frames, Reading},
    process::{Gateway, Setup},
    programmes::{PROGRAMMES, Programme},
    tags,
};
use futures_util::future::join_all;

/// ffmpeg places the first access units before the other track's report has come, which tells how far the tracks are apart.
const UNSETTLED: usize = 8;
/// What has to be read at the least, of clips of 20 s.
const SECONDS: f64 = 10.0;

#[tokio::test]
async fn the_newest_ffmpeg_reads_every_codec_bit_for_bit_and_at_its_times_over_tcp_and_udp() {
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let cells = PROGRAMMES.iter().map(|programme| async {
        let clip = clip(programme.clip);
        let published = frames::of_clip_in(&clip, programme.filter).await;
        let publisher = newest_publishes(&clip, &gateway.rtmp_url(programme.clip), &[], &[]);
        let reading = read_to_the_end(&gateway, programme.clip, programme, published);
        let ((), _) = tokio::join!(reading, publisher.success());
    });
    join_all(cells).await;
}

#[tokio::test]
async fn hevc_of_codec_id_12_is_read_bit_for_bit() {
    let programme = &PROGRAMMES[0];
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let clip = clip(programme.clip);
    let published = frames::of_clip_in(&clip, programme.filter).await;
    let tags = tags::legacy_hevc(tags::of_clip(&clip).await);
    let publisher = tokio::spawn(tags::publish(gateway.rtmp(), "legacy", tags));
    read_to_the_end(&gateway, "legacy", programme, published).await;
    publisher.await.unwrap().unwrap();
}

#[tokio::test]
async fn pictures_of_4_2_2_and_10_bits_without_metadata_are_read_bit_for_bit() {
    let programme = Programme::new("h264", "aac", "h264_422");
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let clip = clip(programme.clip);
    let published = frames::of_clip_in(&clip, programme.filter).await;
    let output = ["-flvflags", "no_metadata+no_sequence_end"];
    let publisher = newest_publishes(&clip, &gateway.rtmp_url("deep"), &[], &output);
    let reading = read_to_the_end(&gateway, "deep", &programme, published);
    tokio::join!(reading, publisher.success());
}

async fn read_to_the_end(gateway: &Gateway, key: &str, programme: &Programme, published: Frames) {
    until_live(&gateway.publish_grpc(), key).await;
    let url = gateway.rtsp_url(key);
    let read = async |transport| {
        let filter = programme.filter;
        let read = Reading::in_codec(newest_ffmpeg(), filter, &url, transport, None).frames().await;
        frames::compare_to_the_end(
            &format!("{key} over {transport:?}"),
            &published,
            &read,
            UNSETTLED,
            SECONDS,
        );
    };
    let mut decode = newest_ffmpeg();
    decode.args(rtsp_input(Transport::Tcp, &url)).args(["-t", "8", "-f", "null", "-"]);
    let decode = Running::start(decode).silent_success();
    tokio::join!(read(Transport::Tcp), read(Transport::Udp), decode);
}
