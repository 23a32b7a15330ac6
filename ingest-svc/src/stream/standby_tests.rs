use super::*;
use crate::testing::{PPS, SPS, aac_frame, aac_header, avc_header, avc_picture};

struct Bench {
    kept: Kept,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { kept: Kept::default(), now: Instant::now() }
    }

    fn push(&mut self, kind: MediaMessageKind, timestamp_ms: u32, payload: Bytes) {
        self.kept.push(&MediaMessage { kind, timestamp_ms, payload }, self.now);
    }

    fn video(&mut self, timestamp_ms: u32, payload: Bytes) {
        self.push(MediaMessageKind::Video, timestamp_ms, payload);
    }

    fn audio(&mut self, timestamp_ms: u32, payload: Bytes) {
        self.push(MediaMessageKind::Audio, timestamp_ms, payload);
    }

    /// The payloads that are kept.
    fn payloads(self) -> Vec<Bytes> {
        let messages = self.kept.into_messages(self.now);
        messages.into_iter().map(|received| received.message.payload).collect()
    }
}

/// A keyframe or another picture that can be told from others.
fn picture(keyframe: bool, fill: u8) -> Bytes {
    avc_picture(keyframe, 0, 10, fill)
}

#[test]
fn the_codec_headers_and_what_follows_the_last_keyframe_are_kept_in_order() {
    let mut bench = Bench::new();
    bench.video(0, avc_header(SPS, PPS));
    bench.audio(0, aac_header());
    assert!(!bench.kept.is_ready(), "codec headers alone are no picture");
    bench.video(0, picture(true, 1));
    bench.video(40, picture(false, 2));
    bench.audio(40, aac_frame(10, 3));
    bench.video(80, picture(true, 4));
    bench.audio(80, aac_frame(10, 5));
    bench.video(120, picture(false, 6));
    assert!(bench.kept.is_ready());
    let expected =
        [avc_header(SPS, PPS), aac_header(), picture(true, 4), aac_frame(10, 5), picture(false, 6)];
    assert_eq!(bench.payloads(), expected);
}

#[test]
fn what_comes_before_the_first_keyframe_is_thrown_away() {
    let mut bench = Bench::new();
    bench.audio(0, aac_header());
    bench.audio(0, aac_frame(10, 1));
    bench.video(0, avc_header(SPS, PPS));
    bench.video(40, picture(false, 2));
    bench.audio(40, aac_frame(10, 3));
    assert!(!bench.kept.is_ready());
    assert_eq!(bench.payloads(), [aac_header(), avc_header(SPS, PPS)]);
}

#[test]
fn a_codec_header_that_changes_counts_from_where_it_stood() {
    let other = avc_header(SPS, &[0x68, 1, 2]);
    let mut bench = Bench::new();
    bench.video(0, avc_header(SPS, PPS));
    bench.video(0, picture(true, 1));
    bench.video(40, other.clone());
    bench.video(40, picture(false, 2));
    let expected = [avc_header(SPS, PPS), picture(true, 1), other.clone(), picture(false, 2)];
    let messages = bench.kept.gop.iter().map(|received| received.message.payload.clone());
    assert_eq!(messages.collect::<Vec<_>>(), expected[1..]);
    bench.video(80, picture(true, 3));
    assert_eq!(bench.payloads(), [other, picture(true, 3)]);
}

#[test]
fn without_pictures_the_last_audio_frame_is_where_it_goes_on() {
    let mut bench = Bench::new();
    bench.audio(0, aac_header());
    bench.audio(0, aac_frame(10, 1));
    bench.audio(21, aac_frame(10, 2));
    assert!(bench.kept.is_ready());
    assert_eq!(bench.payloads(), [aac_header(), aac_frame(10, 2)]);
}

#[test]
fn a_gop_over_the_bound_is_given_up_until_the_next_keyframe() {
    let mut bench = Bench::new();
    bench.video(0, avc_header(SPS, PPS));
    bench.video(0, picture(true, 1));
    bench.video(40, avc_picture(false, 0, MAX_BYTES - 1_000, 2));
    assert!(bench.kept.is_ready());
    bench.video(80, avc_picture(false, 0, 1_000, 3));
    assert!(!bench.kept.is_ready());
    assert_eq!((bench.kept.bytes, bench.kept.overflows()), (0, 1));
    bench.video(120, picture(false, 4));
    bench.video(160, picture(true, 5));
    bench.video(200, picture(false, 6));
    assert_eq!(bench.payloads(), [avc_header(SPS, PPS), picture(true, 5), picture(false, 6)]);
}

#[test]
fn small_messages_are_bounded_by_what_they_take_in_memory() {
    let mut bench = Bench::new();
    bench.video(0, picture(true, 1));
    let mut most = 0;
    while bench.kept.overflows() == 0 {
        bench.video(40, picture(false, 2));
        most = most.max(bench.kept.gop.len());
    }
    assert!(most * size_of::<Received>() <= MAX_BYTES, "{most} messages");
}

#[test]
fn codec_headers_are_bounded_in_number_and_size() {
    let mut bench = Bench::new();
    // Enhanced RTMP: a header of AVC for one track, with the track's id.
    let header = |id: u8, bytes: usize| {
        let head = [0x96, 0x00, b'a', b'v', b'c', b'1', id];
        Bytes::from([&head[..], &vec![1; bytes]].concat())
    };
    for id in 0..=u8::MAX {
        bench.video(0, header(id, 10));
    }
    assert_eq!(bench.kept.headers.len(), MAX_HEADERS);
    bench.video(0, header(0, MAX_HEADER_BYTES));
    assert_eq!(bench.kept.headers[0].1.payload, header(0, 10));
}

#[test]
fn only_keyframes_of_the_first_video_track_begin_a_gop() {
    let mut bench = Bench::new();
    let frame = |id: u8, keyframe: bool, fill: u8| {
        let head = [if keyframe { 0x96 } else { 0xA6 }, 0x03, b'a', b'v', b'c', b'1', id, fill];
        Bytes::copy_from_slice(&head)
    };
    bench.video(0, frame(7, true, 1));
    bench.video(0, frame(3, true, 2));
    bench.video(40, frame(7, false, 3));
    let expected = [frame(7, true, 1), frame(3, true, 2), frame(7, false, 3)];
    assert_eq!(bench.payloads(), expected);
}

#[test]
fn metadata_and_what_cannot_be_read_are_thrown_away() {
    let mut bench = Bench::new();
    bench.video(0, picture(true, 1));
    bench.push(MediaMessageKind::Data, 0, Bytes::from_static(&[2, 0, 1, b'a']));
    bench.video(40, Bytes::from_static(&[0x17]));
    bench.video(40, Bytes::from_static(&[0x57, 0]));
    assert_eq!(bench.payloads(), [picture(true, 1)]);
}

#[test]
fn what_is_kept_does_not_keep_the_buffer_that_it_came_in() {
    let mut bench = Bench::new();
    let buffer = picture(true, 1);
    bench.video(0, buffer.clone());
    assert_ne!(bench.kept.gop[0].message.payload.as_ptr(), buffer.as_ptr());
}
