use bytes::Bytes;
use media::{ClockRate, NtpTime, rtp::Header};

use super::*;
use crate::testing::{PPS, SPS, aac_frame, aac_header, avc_header, avc_picture};

mod offline;
mod timestamps;

const WAIT: Duration = Duration::from_secs(1);
const VIDEO_ORIGIN: u32 = 0xFFFF_FF00;
const AUDIO_ORIGIN: u32 = 77;

struct Bench {
    pipeline: Pipeline,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let identity = |payload_type, ssrc, rtp_origin| TrackIdentity {
            payload_type,
            ssrc,
            first_sequence_number: 65_534,
            rtp_origin,
        };
        let mut pipeline = Pipeline::new(PipelineConfig {
            max_packet_size: 1200,
            track_wait: WAIT,
            video: identity(96, 1, VIDEO_ORIGIN),
            audio: identity(97, 2, AUDIO_ORIGIN),
        });
        pipeline.begin_publisher();
        Self { pipeline, now: Instant::now() }
    }

    fn with_tracks() -> Self {
        let mut bench = Self::new();
        bench.video(0, avc_header(SPS, PPS));
        bench.audio(0, aac_header());
        bench
    }

    fn send(&mut self, kind: MediaMessageKind, timestamp_ms: u32, payload: Bytes) -> Vec<Unit> {
        self.pipeline.handle_message(&MediaMessage { kind, timestamp_ms, payload }, self.now);
        std::iter::from_fn(|| self.pipeline.poll_unit()).collect()
    }

    fn video(&mut self, timestamp_ms: u32, payload: Bytes) -> Vec<Unit> {
        self.send(MediaMessageKind::Video, timestamp_ms, payload)
    }

    fn audio(&mut self, timestamp_ms: u32, payload: Bytes) -> Vec<Unit> {
        self.send(MediaMessageKind::Audio, timestamp_ms, payload)
    }
}

fn headers(units: &[Unit]) -> Vec<Header> {
    units
        .iter()
        .flat_map(|unit| unit.packets.packets())
        .map(|packet| Header::parse(&packet).unwrap())
        .collect()
}

fn timestamp(units: &[Unit]) -> u32 {
    let headers = headers(units);
    assert!(headers.iter().all(|header| header.timestamp == headers[0].timestamp));
    headers[0].timestamp
}

#[test]
fn a_stream_is_announced_as_soon_as_both_tracks_are_known() {
    let mut bench = Bench::new();
    assert_eq!(bench.pipeline.poll_timeout(), None);
    bench.video(0, avc_header(SPS, PPS));
    assert_eq!(bench.pipeline.announcements(), 0);
    assert_eq!(bench.pipeline.poll_timeout(), Some(bench.now + WAIT));
    bench.audio(0, aac_header());
    assert_eq!(bench.pipeline.announcements(), 1);
    assert_eq!(bench.pipeline.poll_timeout(), None);
    let kinds: Vec<_> = bench.pipeline.tracks().iter().map(|t| t.config.kind()).collect();
    assert_eq!(kinds, [MediaKind::Video, MediaKind::Audio]);
}

#[test]
fn a_stream_of_one_track_is_announced_after_the_wait_and_again_with_a_late_track() {
    let mut bench = Bench::new();
    bench.audio(0, aac_header());
    bench.pipeline.handle_timeout(bench.now + WAIT / 2);
    assert_eq!(bench.pipeline.announcements(), 0);
    bench.pipeline.handle_timeout(bench.now + WAIT);
    assert_eq!((bench.pipeline.announcements(), bench.pipeline.tracks().len()), (1, 1));
    bench.video(5_000, avc_header(SPS, PPS));
    assert_eq!((bench.pipeline.announcements(), bench.pipeline.tracks().len()), (2, 2));
}

#[test]
fn sound_that_begins_half_a_minute_late_lies_where_its_stamps_say() {
    let mut bench = Bench::new();
    bench.video(0, avc_header(SPS, PPS));
    for ms in (0..30_000).step_by(500) {
        bench.video(ms, avc_picture(true, 0, 100, 1));
        bench.now += Duration::from_millis(500);
        bench.pipeline.handle_timeout(bench.now);
    }
    assert_eq!(bench.pipeline.announcements(), 1);
    bench.audio(30_000, aac_header());
    let sound = timestamp(&bench.audio(30_000, aac_frame(100, 1)));
    assert_eq!(sound.wrapping_sub(AUDIO_ORIGIN), 30_000 * 48);
    let tracks = bench.pipeline.tracks();
    assert_eq!((bench.pipeline.announcements(), tracks[0].late, tracks[1].late), (2, false, true));
    assert_eq!(bench.pipeline.repaired(), Repaired::default());
}

#[test]
fn metadata_makes_no_track() {
    let mut bench = Bench::new();
    bench.send(MediaMessageKind::Data, 0, Bytes::from_static(b"\x02\x00\x0aonMetaData\x05"));
    assert_eq!(bench.pipeline.poll_timeout(), None);
    assert_eq!(bench.pipeline.dropped(), Dropped::default());
}

#[test]
fn video_is_stamped_with_its_presentation_time_and_sent_in_decode_order() {
    let mut bench = Bench::with_tracks();
    let stamps: Vec<_> =
        [(1000, true, 80), (1040, false, 160), (1080, false, 0), (1120, false, 40)]
            .into_iter()
            .map(|(dts, keyframe, cts)| {
                let units = bench.video(dts, avc_picture(keyframe, cts, 3000, 1));
                timestamp(&units).wrapping_sub(VIDEO_ORIGIN) / 90
            })
            .collect();
    assert_eq!(stamps, [80, 200, 80, 160]);
    assert!(bench.pipeline.tracks()[0].has_b_frames);
}

#[test]
fn sequence_numbers_go_on_and_wrap() {
    let mut bench = Bench::with_tracks();
    let mut units = bench.video(0, avc_picture(true, 0, 3000, 1));
    units.extend(bench.video(40, avc_picture(false, 0, 100, 1)));
    let numbers: Vec<_> = headers(&units).iter().map(|h| h.sequence_number).collect();
    let expected: Vec<_> = (0..numbers.len()).map(|n| 65_534u16.wrapping_add(n as u16)).collect();
    assert_eq!(numbers, expected);
    assert!(numbers.contains(&0));
}

#[test]
fn audio_is_stamped_by_its_samples_on_the_line_of_the_video() {
    let mut bench = Bench::with_tracks();
    bench.video(5_000, avc_picture(true, 0, 100, 1));
    // 48 kHz in RTMP's milliseconds: 21.33 ms become 21, 43, 64 …
    let stamps: Vec<_> = (0..50u32)
        .map(|n| {
            let ms = 5_000 + n * 64 / 3;
            timestamp(&bench.audio(ms, aac_frame(200, 2))).wrapping_sub(AUDIO_ORIGIN)
        })
        .collect();
    let expected: Vec<_> = (0..50).map(|n| n * 1024).collect();
    assert_eq!(stamps, expected);

    let origin = NtpTime::from_unix(Duration::from_secs(1_000_000));
    let now = origin.offset_by_nanos(3_000_000_000);
    let tracks = bench.pipeline.tracks();
    let [video, audio] = [0, 1].map(|at| tracks[at].clock_mapping(origin).rtp_at(now));
    assert_eq!(video.wrapping_sub(VIDEO_ORIGIN), 270_000);
    assert_eq!(audio.wrapping_sub(AUDIO_ORIGIN), 144_000);
    assert_eq!(tracks[1].config.clock_rate(), ClockRate::new(48_000).unwrap());
}

#[test]
fn an_audio_offset_of_the_publisher_is_kept() {
    let mut bench = Bench::with_tracks();
    let video = timestamp(&bench.video(10_000, avc_picture(true, 0, 100, 1)));
    let audio = timestamp(&bench.audio(10_137, aac_frame(200, 2)));
    assert_eq!(video.wrapping_sub(VIDEO_ORIGIN), 0);
    assert_eq!(audio.wrapping_sub(AUDIO_ORIGIN), 137 * 48);
}

#[test]
fn repeated_headers_change_nothing_and_new_parameter_sets_go_in_band() {
    let mut bench = Bench::with_tracks();
    bench.video(0, avc_header(SPS, PPS));
    bench.audio(0, aac_header());
    assert_eq!(bench.pipeline.announcements(), 1);
    let payload = |units: &[Unit]| units[0].packets.data.to_vec();
    let has = |units: &[Unit], set: &[u8]| payload(units).windows(set.len()).any(|w| w == set);
    let first = bench.video(0, avc_picture(true, 0, 100, 1));
    assert!(has(&first, SPS) && has(&first, PPS));
    let other_pps = [0x68, 0xEE, 0x3C, 0x80];
    bench.video(40, avc_header(SPS, &other_pps));
    let second = bench.video(40, avc_picture(true, 0, 100, 1));
    assert!(has(&second, &other_pps) && !has(&second, PPS));
    assert_eq!(bench.pipeline.announcements(), 1);
}

#[test]
fn what_cannot_be_used_is_counted_and_the_rest_goes_on() {
    let mut bench = Bench::with_tracks();
    assert_eq!(bench.video(0, avc_picture(false, 0, 100, 1)).len(), 0, "no keyframe yet");
    assert_eq!(bench.audio(0, Bytes::from_static(&[0xB2, 0xFF, 0xFB])).len(), 0, "Speex");
    assert_eq!(bench.video(0, Bytes::from_static(&[0x17, 9, 0, 0, 0])).len(), 0);
    let mut cut = avc_picture(true, 0, 100, 1).to_vec();
    cut.pop();
    assert_eq!(bench.video(0, cut.into()).len(), 0);
    assert_eq!(bench.audio(0, aac_frame(0, 0)).len(), 0);
    assert_eq!(
        bench.pipeline.dropped(),
        Dropped { malformed: 2, unsupported: 1, unusable: 1, other_tracks: 0 }
    );
    assert_eq!(bench.pipeline.left_out(), ["FLV sound format 11 is not carried"]);
    assert_eq!(bench.video(0, avc_picture(true, 0, 100, 1)).len(), 1);
    assert_eq!(bench.audio(0, aac_frame(100, 1)).len(), 1);
}

#[test]
fn audio_of_another_config_is_another_track_on_the_same_timeline() {
    let mut bench = Bench::with_tracks();
    let first = headers(&bench.audio(0, aac_frame(100, 1)))[0].clone();
    assert_eq!((first.payload_type, first.ssrc), (97, 2));
    // AAC-LC, stereo, 44.1 kHz.
    bench.audio(1000, Bytes::from_static(&[0xAF, 0, 0x12, 0x10]));
    assert_eq!((bench.pipeline.announcements(), bench.pipeline.replaced()), (2, 1));
    let second = headers(&bench.audio(1000, aac_frame(100, 1)))[0].clone();
    assert_eq!((second.payload_type, second.ssrc), (99, 4));
    assert_eq!(second.timestamp, AUDIO_ORIGIN + 44_100, "on the new clock, a second later");
    let tracks = bench.pipeline.tracks();
    assert_eq!(tracks[1].config.clock_rate().hz(), 44_100);
    assert_eq!(tracks[1].identity.payload_type, 99);
}

#[test]
fn a_publisher_may_change_its_codec_and_begins_with_a_keyframe_of_the_other() {
    let mut bench = Bench::with_tracks();
    bench.video(0, avc_picture(true, 0, 100, 1));
    // HEVC by the legacy codec id, a record without parameter sets.
    let mut record = vec![0x1C, 0, 0, 0, 0, 1];
    record.resize(5 + 21, 0);
    record.extend_from_slice(&[0b11, 0]);
    bench.video(40, record.into());
    assert_eq!(bench.pipeline.tracks()[0].config.codec(), media::codec::Codec::H265);
    assert_eq!(bench.pipeline.replaced(), 1);
    assert_eq!(bench.video(40, avc_picture(true, 0, 100, 1)).len(), 0, "of the codec before");
    let trail = [0x2C, 1, 0, 0, 0, 0, 0, 0, 4, 0x02, 0x01, 9, 9];
    assert_eq!(bench.video(80, Bytes::copy_from_slice(&trail)).len(), 0, "no keyframe yet");
    let idr = [0x1C, 1, 0, 0, 0, 0, 0, 0, 4, 0x26, 0x01, 9, 9];
    let sent = headers(&bench.video(120, Bytes::copy_from_slice(&idr)));
    assert_eq!(
        (sent[0].payload_type, sent[0].timestamp),
        (98, VIDEO_ORIGIN.wrapping_add(120 * 90))
    );
}

#[test]
fn codecs_whose_frames_tell_all_need_no_header() {
    let mut bench = Bench::new();
    let mut mp3 = vec![0x2F, 0xFF, 0xFB, 0x90, 0x64];
    mp3.resize(1 + 417, 0);
    assert_eq!(bench.audio(0, mp3.clone().into()).len(), 1);
    let second = headers(&bench.audio(26, mp3.into()))[0].clone();
    // 1152 samples of 44.1 kHz on a clock of 90 kHz.
    assert_eq!(second.timestamp, AUDIO_ORIGIN + 2351);
    let track = &bench.pipeline.tracks()[0];
    assert_eq!((track.config.codec_string(), track.config.sample_rate()), ("mp3".into(), 44_100));
    // FFmpeg knows how MP3 is carried by its static payload type alone; what comes after it takes one of its own again.
    assert_eq!((second.payload_type, track.identity.payload_type), (14, 14));
    bench.audio(52, aac_header());
    let third = headers(&bench.audio(52, aac_frame(100, 1)))[0].clone();
    assert_eq!((third.payload_type, bench.pipeline.tracks()[0].identity.payload_type), (99, 99));

    // MP3 again, and then at another rate: another track each time.
    let mut other = vec![0x2F, 0xFF, 0xFB, 0x90, 0x64];
    other.resize(1 + 417, 0);
    assert_eq!(headers(&bench.audio(78, other.clone().into()))[0].ssrc, third.ssrc + 2);
    other[3] = 0x94;
    other.truncate(1 + 384);
    assert_eq!(headers(&bench.audio(104, other.into()))[0].ssrc, third.ssrc + 4);
    assert_eq!(bench.pipeline.tracks()[0].config.sample_rate(), 48_000);

    // G.711 goes out in as many packets as it takes, each at its own time.
    let mut bench = Bench::new();
    let units = bench.audio(0, [&[0x82][..], &[0xFF; 2400]].concat().into());
    let sent = headers(&units);
    assert_eq!(sent.iter().map(|h| h.payload.len()).collect::<Vec<_>>(), [1188, 1188, 24]);
    let times: Vec<_> = sent.iter().map(|h| h.timestamp - AUDIO_ORIGIN).collect();
    assert_eq!(times, [0, 1188, 2376]);
    // The other law is another codec.
    let sent = headers(&bench.audio(300, [&[0x72][..], &[0xD5; 160]].concat().into()));
    assert_eq!(bench.pipeline.tracks()[0].config.codec_string(), "pcma");
    assert_eq!((sent[0].payload_type, bench.pipeline.announcements()), (99, 0));
}

#[test]
fn of_several_tracks_the_first_is_carried_and_the_others_are_told_and_counted() {
    let mut bench = Bench::new();
    let tag = |track: u8| [&[0x95, 0x01][..], b"Opus", &[track, 31 << 3, 9]].concat();
    assert_eq!(bench.audio(0, tag(3).into()).len(), 1);
    for _ in 0..2 {
        assert_eq!(bench.audio(20, tag(4).into()).len(), 0);
    }
    assert_eq!(bench.audio(20, tag(3).into()).len(), 1);
    assert_eq!(bench.pipeline.dropped().other_tracks, 2);
    let lines = ["audio track 4 is left out: one track of each kind is carried"];
    assert_eq!(bench.pipeline.left_out(), lines);
}

#[test]
fn another_publisher_goes_on_from_its_first_keyframe_where_the_last_one_ended() {
    let mut bench = Bench::with_tracks();
    let last = bench.video(70_000, avc_picture(true, 0, 100, 1));
    let last_audio = bench.audio(70_000, aac_frame(100, 1));
    bench.now += Duration::from_secs(4);
    bench.pipeline.begin_publisher();
    bench.video(0, avc_header(SPS, PPS));
    bench.audio(0, aac_header());
    assert_eq!(bench.video(0, avc_picture(false, 0, 100, 1)).len(), 0);
    let audio = bench.audio(0, aac_frame(100, 1));
    let next = bench.video(40, avc_picture(true, 0, 100, 1));
    let (old, new) = (headers(&last), headers(&next));
    let ahead = new[0].timestamp.wrapping_sub(old[0].timestamp);
    assert_eq!(ahead, 4_040 * 90, "the time that passed, and 40 ms");
    let ahead = timestamp(&audio).wrapping_sub(timestamp(&last_audio));
    assert_eq!(ahead, 4_000 * 48);
    let next_number = old.last().unwrap().sequence_number.wrapping_add(1);
    assert_eq!((new[0].ssrc, new[0].sequence_number), (old[0].ssrc, next_number));
    assert_eq!(bench.pipeline.announcements(), 1);
}

#[test]
fn the_sound_of_a_publisher_that_goes_on_at_once_keeps_its_distance_to_the_pictures() {
    let mut bench = Bench::with_tracks();
    bench.video(0, avc_picture(true, 0, 100, 1));
    bench.audio(0, aac_frame(100, 1));
    bench.pipeline.begin_publisher();
    let video = timestamp(&bench.video(500, avc_picture(true, 0, 100, 2)));
    let audio = timestamp(&bench.audio(500, aac_frame(100, 2)));
    let seconds = |from_origin: u32, rate: f64| f64::from(from_origin) / rate;
    let video = seconds(video.wrapping_sub(VIDEO_ORIGIN), 90_000.0);
    let audio = seconds(audio.wrapping_sub(AUDIO_ORIGIN), 48_000.0);
    assert!((video - audio).abs() < 0.001, "{video} {audio}");
    assert!(video > 0.0);
}
