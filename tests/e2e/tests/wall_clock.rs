//! The wall-clock time that publishers tell in SEI of their pictures, as readers are told it by RTCP. Each picture says when it was
//! taken, so that readers compare the two for each, by its bytes and not by a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use e2e::{
    clients::{Running, Transport, ffmpeg, gst_launch},
    clips::{Units, clip, place},
    control::{streams, until_live},
    eventually,
    process::{Gateway, Setup},
    reader::{AccessUnit, Clock, Depacketizer, Packet, Reader},
    tags::{self, Tag},
};
use gateway::demo::Kind;
use media::{NtpTime, codec::MediaKind};
use proto::v1::ClockSource;
use tokio::process::Command;

const MISB: &[u8] = b"MISPmicrosectime";
/// bpm_ts_uuid of OBS Studio.
const OBS: &str = "0aecffe7-5272-4e2f-a62f-d19cd61a93b5";
/// How many pictures are looked at: two seconds and more.
const PICTURES: usize = 75;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock")
}

/// Pictures of a stream, in decode order, and their wall-clock times by the last report that came with them, in seconds after `origin`.
async fn pictures(url: &str, transport: Transport, origin: Duration) -> Vec<(AccessUnit, f64)> {
    let mut reader = Reader::play(url, transport).await.unwrap();
    let tracks = reader.description.tracks.clone();
    let video = tracks.iter().position(|t| t.config.kind() == MediaKind::Video).expect("video");
    let mut input = Depacketizer::new(MediaKind::Video, video);
    let (mut units, mut clock) = (Vec::new(), None);
    while units.len() < PICTURES || clock.is_none() {
        match reader.next().await.unwrap().expect("the server closed the connection") {
            Packet::Rtp { track, header, bytes } if track == video => {
                units.extend(input.push(&header, &bytes).unwrap());
            }
            Packet::Rtcp { track, packets } if track == video => {
                clock = Clock::of(&packets, 90_000).or(clock);
            }
            Packet::Rtp { .. } | Packet::Rtcp { .. } => {}
        }
    }
    let (clock, origin) = (clock.expect("a Sender Report"), NtpTime::from_unix(origin));
    let time = |unit: &AccessUnit| clock.seconds_after(origin, unit.timestamp);
    units.into_iter().map(|unit| (unit.clone(), time(&unit))).collect()
}

/// Waits until the gateway says who tells the time.
async fn until_told(gateway: &Gateway, source: ClockSource) {
    eventually("the publisher's time", async || {
        let stream = streams(&gateway.ingest_grpc()).await.into_iter().next()?;
        (stream.clock_source() == source).then_some(())
    })
    .await;
}

/// SEI of MISB ST 0604.6.
fn misb(since_1970: Duration) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h] = (since_1970.as_micros() as u64).to_be_bytes();
    let time = [0x1F, a, b, 0xFF, c, d, 0xFF, e, f, 0xFF, g, h];
    [&[6, 5, 28], MISB, &time, &[0x80]].concat()
}

/// The time in such SEI, in microseconds since 1970.
fn misb_time(unit: &AccessUnit) -> Option<u64> {
    let nal = unit.parts.iter().find(|nal| nal.get(3..19) == Some(MISB))?;
    let &[a, b, _, c, d, _, e, f, _, g, h] = nal.get(20..31)?.first_chunk()?;
    Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Tags whose pictures tell when they are shown, `begin` being the time 0.
fn with_misb(mut tags: Vec<Tag>, begin: Duration) -> Vec<Tag> {
    // Frames of AVC, which are no sequence header.
    for tag in tags.iter_mut().filter(|t| t.kind == Kind::Video && t.body.get(1) == Some(&1)) {
        let (head, slices) = tag.body.split_at(5);
        let composition_ms = i32::from_be_bytes([0, head[2], head[3], head[4]]) as u64;
        let shown = Duration::from_millis(u64::from(tag.timestamp_ms) + composition_ms);
        let sei = misb(begin + shown);
        let length = (sei.len() as u32).to_be_bytes();
        tag.body = Bytes::from([head, &length, &sei, slices].concat());
    }
    tags
}

#[tokio::test]
async fn each_picture_of_a_drone_has_the_time_that_it_tells_within_a_millisecond() {
    let file = Bytes::from(std::fs::read(clip("small")).expect("a clip"));
    // Its clock is an hour and some ms off, and so is not ours by chance.
    let begin = now() - Duration::from_micros(3_600_123_456);
    let tags = with_misb(tags::of_flv(&file), begin);
    let published = Units::of_tags(&tags);
    let gateway = Setup::both().start().await;
    let publisher = tokio::spawn(tags::publish(gateway.rtmp(), "drone", tags));
    until_live(&gateway.publish_grpc(), "drone").await;
    until_told(&gateway, ClockSource::Sei).await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let read = pictures(&gateway.rtsp_url("drone"), transport, begin).await;
        let mut worst = 0.0_f64;
        for (unit, time) in &read {
            let told = misb_time(unit).expect("SEI") as f64 / 1e6 - begin.as_micros() as f64 / 1e6;
            worst = worst.max((time - told).abs());
        }
        println!("{transport:?}: {} pictures, at most {:.3} ms off", read.len(), worst * 1e3);
        assert!(worst <= 0.001, "{transport:?}: {worst} s");
        // SEI is part of what is compared.
        let units: Vec<_> = read.iter().map(|(unit, _)| unit.pictured()).collect();
        assert!(place(&published.video, &units).is_some(), "the pictures are as they were");
    }
    publisher.abort();
}

#[tokio::test]
async fn the_time_at_which_obs_composed_a_keyframe_is_that_of_its_report() {
    let gateway = Setup::both().start().await;
    let composed = Duration::from_secs(now().as_secs() - 100) + Duration::from_millis(250);
    // bpm_ts_sei_render, but for a number of timestamps that is no zero, which no argument of a program can hold. ffmpeg puts one at the
    // end, and the whole into the first keyframe alone where there is no other.
    let text = rfc_3339(composed).await.replace(':', "\\\\\\:");
    let filter = format!("h264_metadata=sei_user_data={OBS}+\u{1}\u{1}\u{1}{text}");
    let mut command = ffmpeg();
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "60"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "10000"]);
    command.args(["-pix_fmt", "yuv420p", "-bsf:v", &filter, "-f", "flv"]);
    command.arg(gateway.rtmp_url("obs"));
    let _publisher = Running::start(command);
    until_live(&gateway.publish_grpc(), "obs").await;
    until_told(&gateway, ClockSource::Sei).await;
    let read = pictures(&gateway.rtsp_url("obs"), Transport::Tcp, composed).await;
    let (keyframe, time) = &read[0];
    assert!(keyframe.parts.iter().any(|nal| nal.ends_with(b"250Z\0\x80")), "SEI is sent on");
    println!("{:.3} ms off", time * 1e3);
    assert!(time.abs() <= 0.001, "{time} s");
}

async fn rfc_3339(since_1970: Duration) -> String {
    let seconds = format!("@{}.{:03}", since_1970.as_secs(), since_1970.subsec_millis());
    let mut command = Command::new("date");
    command.args(["-u", "-d", &seconds, "+%Y-%m-%dT%H:%M:%S.%3NZ"]);
    e2e::clients::run(command).await.trim().to_owned()
}

/// Seconds of the day by the time code in GStreamer's picture timing, of 30 pictures a second. With this pipeline 33 bits are in front of
/// it, as ffmpeg's `trace_headers` shows; where the hour is 0 it is left out, and there is a flag before each field.
fn time_code(unit: &AccessUnit) -> Option<f64> {
    let nal = unit.parts.iter().find(|nal| matches!(nal[..], [6, 1, 7 | 8, ..]))?;
    let mut payload = Vec::new();
    for &byte in &nal[3..] {
        if byte != 3 || !payload.ends_with(&[0, 0]) {
            payload.push(byte);
        }
    }
    let bits = u64::from_be_bytes(*payload.first_chunk()?);
    let field = |end: u32, count: u32| (bits >> (64 - end) & ((1 << count) - 1)) as f64;
    let is_full = field(31, 1) == 1.0;
    let (seconds, minutes, hours) = if is_full {
        (field(47, 6), field(53, 6), field(58, 5))
    } else {
        (field(48, 6), field(55, 6), 0.0)
    };
    Some((hours * 60.0 + minutes) * 60.0 + seconds + field(41, 8) / 30.0)
}

fn gstreamer_publishes(url: &str) -> Running {
    let mut command = gst_launch();
    command.args(["-q", "videotestsrc", "is-live=true", "!"]);
    command.args(["video/x-raw,format=I420,width=320,height=180,framerate=30/1", "!"]);
    command.args(["timecodestamper", "source=rtc", "!"]);
    command.args(["x264enc", "speed-preset=ultrafast", "key-int-max=30", "bframes=2"]);
    command.args(["bitrate=300", "option-string=nal-hrd=cbr:pic-struct=1", "!"]);
    command.args(["h264parse", "update-timecode=true", "!", "flvmux", "streamable=true", "!"]);
    command.args(["rtmp2sink", &format!("location={url}")]);
    Running::start(command)
}

#[tokio::test]
async fn the_time_code_of_gstreamer_is_kept_within_a_picture() {
    // The first second is reported by arrivals.
    let often = Setup::both().with("rtp-sender-report-interval", "100ms");
    let gateway = often.with("rtsp-sender-report-interval", "100ms").start().await;
    let _publisher = gstreamer_publishes(&gateway.rtmp_url("clock"));
    until_live(&gateway.publish_grpc(), "clock").await;
    until_told(&gateway, ClockSource::TimeCode).await;
    let midnight = Duration::from_secs(now().as_secs() / 86_400 * 86_400);
    let read = pictures(&gateway.rtsp_url("clock"), Transport::Tcp, midnight).await;
    let mut worst = 0.0_f64;
    for (unit, time) in &read {
        let told = time_code(unit).expect("picture timing");
        // Zones differ by quarters of an hour.
        let away = (time - told).rem_euclid(900.0);
        worst = worst.max(away.min(900.0 - away));
    }
    println!("{} pictures, at most {:.1} ms off", read.len(), worst * 1e3);
    assert!(worst < 0.034, "{worst} s");
}
