//! What real ffmpeg publishes and real ffmpeg reads back is the same, bit for bit and in time.

use e2e::{
    clients::{Publisher, Transport, ffmpeg, rtsp_input, run},
    clips::{clip, place},
    control::{streams, until_live},
    eventually,
    frames::{self, Frame, Frames, Reading, time_difference},
    process::Setup,
};

/// A millisecond, the unit of RTMP's times, and the half of one that both ends round by.
const MILLISECOND: f64 = 0.001_01;
/// What has to be read at the least.
const SECONDS: f64 = 20.0;
/// Two B-frames and the picture before them.
const GUESSED: usize = 3;

#[tokio::test]
async fn twenty_seconds_are_read_bit_for_bit_and_at_their_times_over_tcp_and_udp() {
    let clip = clip("main");
    let published = frames::of_clip(&clip).await;
    let gateway = Setup::both().with("ingest-hold", "2s").start().await;
    let publisher = Publisher::Ffmpeg.start(&clip, &gateway.rtmp_url("site/main"));
    until_live(&gateway.publish_grpc(), "site/main").await;

    let url = gateway.rtsp_url("site/main");
    let tcp = Reading::of_url(&url, Transport::Tcp, None);
    let udp = Reading::of_url(&url, Transport::Udp, None);
    let mut decode = ffmpeg();
    decode.args(rtsp_input(Transport::Tcp, &url)).args(["-t", "20", "-f", "null", "-"]);
    let decoding = e2e::clients::Running::start(decode);
    eventually("B-frames are seen", async || {
        let streams = streams(&gateway.publish_grpc()).await;
        streams[0].tracks.iter().any(|track| track.has_b_frames).then_some(())
    })
    .await;
    publisher.success().await;
    for (transport, reading) in [(Transport::Tcp, tcp), (Transport::Udp, udp)] {
        compare(transport.name(), &published, &reading.frames().await);
    }
    let decoded = decoding.output().await;
    assert!(decoded.status.success());
    assert_eq!(String::from_utf8_lossy(&decoded.stderr), "", "ffmpeg decodes without a line");
}

fn compare(transport: &str, published: &Frames, read: &Frames) {
    for (kind, published, read) in
        [("video", &published.video, &read.video), ("audio", &published.audio, &read.audio)]
    {
        let what = format!("{kind} over {transport}");
        let hashes = |frames: &[Frame]| frames.iter().map(|f| f.hash.clone()).collect::<Vec<_>>();
        let from = place(&hashes(published), &hashes(read));
        let from = from.unwrap_or_else(|| panic!("{what}: {} others", read.len()));
        let published = &published[from..];
        assert_eq!(read.len(), published.len(), "{what}: read to the end");
        let last = read.last().and_then(|last| last.pts).expect("a time");
        let lasts = last - read.iter().find_map(|frame| frame.pts).expect("a time");
        assert!(lasts >= SECONDS, "{what}: {lasts} s");
        let pts = time_difference(published, read, |frame| frame.pts);
        // RTP carries no DTS: ffmpeg works them out, and guesses those of the pictures before it knows how many are reordered.
        let dts = time_difference(&published[GUESSED..], &read[GUESSED..], |frame| frame.dts);
        assert!(read.iter().skip(1).all(|frame| frame.pts.is_some()), "{what}: without PTS");
        let with_dts = read.iter().filter(|frame| frame.dts.is_some()).count();
        println!(
            "{what}: {} access units over {lasts:.3} s from number {from} on, PTS within {:.3} ms, DTS within {:.3} ms ({with_dts} known)",
            read.len(),
            pts * 1e3,
            dts * 1e3,
        );
        assert!(pts < MILLISECOND, "{what}: PTS differ by {pts} s");
        assert!(dts < MILLISECOND, "{what}: DTS differ by {dts} s");
        assert!(with_dts + 3 >= read.len(), "{what}: {with_dts} with DTS");
    }
}

#[test]
fn a_comparison_finds_what_differs() {
    let frame = |hash: &str, pts: f64| Frame { hash: hash.into(), pts: Some(pts), dts: Some(pts) };
    let published = [frame("a", 0.0), frame("a", 1.0), frame("b", 2.0), frame("c", 3.0)];
    assert_eq!(place(&published, &published[1..]), Some(1));
    assert_eq!(place(&published, &[published[0].clone(), published[3].clone()]), None);
    let late = [frame("a", 5.0), frame("b", 6.25)];
    assert_eq!(time_difference(&published[1..], &late, |frame| frame.pts), 0.25);
}

#[tokio::test]
async fn the_demo_decodes_over_its_loop_without_a_line() {
    let gateway = Setup::both().arg("--demo").start().await;
    until_live(&gateway.publish_grpc(), "demo").await;
    let mut decode = ffmpeg();
    let url = gateway.rtsp_url("demo");
    decode.args(rtsp_input(Transport::Udp, &url)).args(["-t", "13", "-f", "null", "-"]);
    let output = e2e::clients::Running::start(decode).output().await;
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    // What it shows is a picture, and it moves.
    let mut pictures = ffmpeg();
    pictures.args(rtsp_input(Transport::Tcp, &url)).args(["-map", "0:v", "-frames:v", "30"]);
    pictures.args(["-f", "framehash", "-hash", "md5", "-"]);
    let hashes = run(pictures).await;
    let hashes = hashes.lines().filter(|line| !line.starts_with('#'));
    let different: std::collections::HashSet<_> =
        hashes.filter_map(|line| line.split(',').next_back()).collect();
    assert!(different.len() > 20, "{} different pictures", different.len());
}
