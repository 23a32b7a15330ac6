//! Whose wall-clock time the Sender Reports carry.

use media::{NtpTime, rtcp::SenderReport};
use svc_core::clock::wall_clock;

use super::*;
use crate::testing::{misb_sei, with_nal};

/// By x264 with `pic-struct=1:nal-hrd=cbr`, out of GStreamer 1.22, at 30 pictures a second.
const TIMED_SPS: [u8; 38] =
    *b"\x67\xf4\x00\x09\x90\xd9\xb2\x88\x4d\x80\xb5\x06\x06\x06\x40\x00\x00\x03\x00\x40\
    \x00\x00\x0f\x38\x08\x00\x49\x3c\x00\x2b\xf3\x8a\x4c\x03\xe2\x44\xb2\xc0";

/// The wall-clock time of an RTP timestamp by a report, in nanoseconds after `origin`.
fn told_by(report: &SenderReport, rtp_timestamp: u32, origin: NtpTime) -> i64 {
    let ticks = i64::from(rtp_timestamp.wrapping_sub(report.rtp_timestamp) as i32);
    report.ntp.nanos_since(origin) + ticks * 100_000 / 9
}

/// The next report of the video track, and the RTP timestamp of the first picture.
async fn first_picture_and_report(node: &mut FakeNode) -> (u32, SenderReport) {
    let (_, description) = node.next_start().await;
    let ssrc = description.tracks[0].ssrc.unwrap();
    let (mut picture, mut report) = (None, None);
    loop {
        match node.next().await {
            Received::Rtp(packet) => {
                let header = media::rtp::Header::parse(&packet).unwrap();
                if header.ssrc == ssrc {
                    picture.get_or_insert(header.timestamp);
                }
            }
            Received::Rtcp(compound, _) => {
                let packets = media::rtcp::parse_compound(&compound).unwrap();
                if let [media::rtcp::RtcpPacket::SenderReport(sent, _), ..] = packets.as_slice()
                    && sent.ssrc == ssrc
                {
                    report = Some(*sent);
                }
            }
            Received::Start(_) | Received::Stop(_) | Received::Feed(_) => panic!("one leg"),
        }
        if let (Some(picture), Some(report)) = (picture, report) {
            return (picture, report);
        }
    }
}

#[tokio::test]
async fn the_time_that_sei_tells_of_a_picture_is_that_of_its_presentation() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    // Its clock is 20 minutes off.
    let begin = wall_clock().since_1970() - Duration::from_secs(1200);
    let mut publisher = bench.publish("drone").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    // Decode order I P B: shown 80, 200, 120 ms after the first one's decoding time.
    for (dts, composition) in [(0, 80), (40, 160), (80, 40), (120, 120), (160, 200)] {
        let picture = avc_picture(dts == 0, composition, 500, 1);
        let shown = Duration::from_millis(u64::from(dts) + composition as u64);
        let sei = misb_sei(begin + shown);
        publisher.video(1000 + dts, with_nal(&picture, &sei)).await;
    }
    let (picture, report) = first_picture_and_report(&mut node).await;
    let origin = NtpTime::from_unix(begin);
    let told = told_by(&report, picture, origin);
    assert!((told - 80_000_000).abs() < 20_000, "{told}");
    let stream = bench.stream("drone").await.unwrap();
    assert_eq!(stream.clock_source(), v1::ClockSource::Sei);
    drop(publisher);
    // The next publisher tells no time.
    let mut publisher = bench.publish("drone").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 500, 1)).await;
    let arrival = |s: &v1::Stream| s.clock_source() == v1::ClockSource::Arrival;
    bench.until("drone", |s| s.is_some_and(arrival)).await;
    drop(publisher);
    bench.drain().await;
}

/// Picture timing as GStreamer writes it: full, of nuit_field_based_flag, behind 17 bits of delays.
fn time_code(second_of_day: u32, n_frames: u32) -> Vec<u8> {
    let (seconds, minutes, hours) =
        (second_of_day % 60, second_of_day / 60 % 60, second_of_day / 3600);
    let fields = [
        (17, 0),
        (4, 0),
        (1, 1),
        (2, 0),
        (1, 1),
        (5, 0),
        (1, 1),
        (2, 0),
        (8, n_frames),
        (6, seconds),
        (6, minutes),
        (5, hours),
        (6, 0b10_0000),
    ];
    let bits: u64 = fields.iter().fold(0, |bits, &(count, value)| bits << count | u64::from(value));
    let mut nal = vec![6, 1, 8];
    for byte in bits.to_be_bytes() {
        if byte <= 3 && nal.ends_with(&[0, 0]) {
            nal.push(3);
        }
        nal.push(byte);
    }
    nal.push(0x80);
    nal
}

/// Publishes two seconds of pictures at once, their time code `behind` seconds behind our clock, and what their clock is then.
async fn clock_of_time_code(behind: u64) -> (i64, v1::ClockSource) {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let begin = wall_clock().since_1970().as_secs() - behind;
    let mut publisher = bench.publish("phone").await;
    publisher.video(0, avc_header(&TIMED_SPS, PPS)).await;
    for n in 0..60_u32 {
        let second_of_day = (begin + u64::from(n / 30)) % 86_400;
        let picture = avc_picture(n == 0, 0, 500, 1);
        let sei = time_code(second_of_day as u32, n % 30);
        publisher.video(n * 1000 / 30, with_nal(&picture, &sei)).await;
    }
    bench
        .until("phone", |s| {
            s.and_then(|s| s.counters).is_some_and(|counters| counters.video_access_units == 60)
        })
        .await;
    let source = bench.stream("phone").await.unwrap().clock_source();
    let (picture, _) = first_picture_and_report(&mut node).await;
    // One that was sent behind all pictures.
    while node.try_next().is_some() {}
    let ssrc = node.next_report().await.0.ssrc;
    let report = loop {
        let (report, ..) = node.next_report().await;
        if report.ssrc == ssrc {
            break report;
        }
    };
    let told = told_by(&report, picture, NtpTime::from_unix(Duration::from_secs(begin)));
    drop(publisher);
    bench.drain().await;
    (told, source)
}

#[tokio::test]
async fn a_time_code_near_our_clock_is_taken_and_that_of_a_studio_is_not() {
    // An hour and a half and 3 s behind: UTC-1:30.
    for behind in [3, 5403] {
        let (told, source) = clock_of_time_code(behind).await;
        assert_eq!(source, v1::ClockSource::TimeCode);
        let zone = (behind - 3) as i64 * 1_000_000_000;
        assert!((told - zone).abs() < 1_000_000, "{told}");
    }
    let (told, source) = clock_of_time_code(60).await;
    assert_eq!(source, v1::ClockSource::Arrival);
    assert!(told > 50_000_000_000, "{told}");
}

#[tokio::test]
async fn a_picture_that_stands_in_for_a_publisher_tells_no_time() {
    let mut config = config();
    config.ingest.hold = Duration::from_millis(50);
    let (mut bench, mut node) = Bench::with_node(config).await;
    let stream_key = "drone".to_owned();
    let request =
        v1::StartStreamRequest { stream_key, offline_picture: true, ..Default::default() };
    bench.control.start_stream(request).await.unwrap();
    let mut publisher = bench.publish("drone").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    let sei = misb_sei(wall_clock().since_1970());
    publisher.video(0, with_nal(&avc_picture(true, 0, 500, 1), &sei)).await;
    let told = |s: &v1::Stream| s.clock_source() == v1::ClockSource::Sei;
    bench.until("drone", |s| s.is_some_and(told)).await;
    node.next_start().await;
    drop(publisher);
    let stands_in = |s: &v1::Stream| s.offline_picture && !told(s);
    bench.until("drone", |s| s.is_some_and(stands_in)).await;
    // That of the publisher, and two copies.
    for _ in 0..3 {
        while !node.next_rtp().await.0.marker {}
    }
    assert!(stands_in(&bench.stream("drone").await.unwrap()));
    bench.drain().await;
}
