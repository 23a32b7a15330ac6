use proptest::prelude::*;

use super::*;

fn video(body: &[u8]) -> Result<VideoTag, FlvError> {
    VideoTag::parse(&Bytes::copy_from_slice(body))
}

fn audio(body: &[u8]) -> Result<AudioTag, FlvError> {
    AudioTag::parse(&Bytes::copy_from_slice(body))
}

fn nal_units(keyframe: bool, composition_time_ms: i32, payload: &'static [u8]) -> VideoTag {
    frame(VideoCodec::Avc, keyframe, composition_time_ms, payload)
}

fn frame(codec: VideoCodec, keyframe: bool, composition_time_ms: i32, payload: &[u8]) -> VideoTag {
    let payload = Bytes::copy_from_slice(payload);
    VideoTag::Frame { codec, keyframe, composition_time_ms, payload }
}

fn record(codec: VideoCodec, record: &[u8]) -> VideoTag {
    VideoTag::SequenceHeader { codec, record: Bytes::copy_from_slice(record) }
}

fn sound(codec: AudioCodec, payload: &[u8]) -> AudioTag {
    AudioTag::Frame { codec, payload: Bytes::copy_from_slice(payload) }
}

fn aac_config(header: &[u8]) -> AudioTag {
    AudioTag::SequenceHeader { codec: AudioCodec::Aac, header: Bytes::copy_from_slice(header) }
}

/// CodecID of AVC and SoundFormat of AAC.
const CODEC_AVC: u8 = 7;

/// An Enhanced RTMP video tag of a codec that is not carried.
fn video_four_cc(body: &[u8]) -> Result<[u8; 4], FlvError> {
    match video(body)? {
        VideoTag::Unsupported(UnsupportedCodec::FourCc(four_cc)) => Ok(four_cc),
        other => panic!("{other:?}"),
    }
}

/// An Enhanced RTMP audio tag of a codec that is not carried.
fn audio_four_cc(body: &[u8]) -> Result<[u8; 4], FlvError> {
    match audio(body)? {
        AudioTag::Unsupported(UnsupportedCodec::FourCc(four_cc)) => Ok(four_cc),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_avc_sequence_header_is_the_record_behind_its_five_bytes() {
    assert_eq!(
        video(b"\x17\x00\x00\x00\x00\x01\x4D\x40\x1F"),
        Ok(record(VideoCodec::Avc, b"\x01\x4D\x40\x1F"))
    );
    // Some encoders do not call it a keyframe; the record may be missing.
    assert_eq!(video(b"\x27\x00\x00\x00\x00"), Ok(record(VideoCodec::Avc, b"")));
    // HEVC by the codec id that Chinese encoders have for it.
    assert_eq!(video(b"\x1C\x00\x00\x00\x00\x01"), Ok(record(VideoCodec::Hevc, b"\x01")));
    assert_eq!(
        video(b"\x2C\x01\xFF\xFF\xD8\x09"),
        Ok(frame(VideoCodec::Hevc, false, -40, b"\x09"))
    );
}

#[test]
fn only_keyframes_and_generated_keyframes_are_keyframes() {
    for (frame_type, keyframe) in
        [(0, false), (1, true), (2, false), (3, false), (4, true), (6, false), (7, false)]
    {
        let body = [frame_type << 4 | CODEC_AVC, 1, 0, 0, 40, 0, 0, 0, 1, 0x65];
        assert_eq!(video(&body), Ok(nal_units(keyframe, 40, b"\0\0\0\x01\x65")), "{frame_type}");
    }
}

#[test]
fn composition_times_are_signed() {
    for (bytes, ms) in [
        ([0, 0, 0], 0),
        ([0, 0, 1], 1),
        ([0x00, 0x01, 0x90], 400),
        ([0x7F, 0xFF, 0xFF], 8_388_607),
        ([0xFF, 0xFF, 0xFF], -1),
        ([0xFF, 0xFF, 0xD8], -40),
        ([0x80, 0, 0], -8_388_608),
    ] {
        let body = [&[0x27, 1][..], &bytes].concat();
        assert_eq!(video(&body), Ok(nal_units(false, ms, b"")));
    }
}

#[test]
fn an_end_of_sequence_may_lack_its_composition_time() {
    // ffmpeg and GStreamer write it, others leave it out.
    for body in [&b"\x17\x02\0\0\0"[..], b"\x17\x02", b"\x27\x02\0"] {
        assert_eq!(video(body), Ok(VideoTag::EndOfSequence), "{body:02X?}");
    }
}

#[test]
fn a_command_frame_is_no_picture_whatever_its_codec() {
    for body in [&b"\x57\x00"[..], b"\x52\x01", b"\x57", b"\x5F"] {
        assert_eq!(video(body), Ok(VideoTag::Command), "{body:02X?}");
    }
    // In an Enhanced RTMP tag the command stands where the FourCC would.
    for body in [&b"\xD0\x00"[..], b"\xD1\x01", b"\xD1"] {
        assert_eq!(video(body), Ok(VideoTag::Command), "{body:02X?}");
    }
}

#[test]
fn an_empty_tag_is_empty() {
    assert_eq!(video(b""), Ok(VideoTag::Empty));
    assert_eq!(audio(b""), Ok(AudioTag::Empty));
}

#[test]
fn codecs_of_old_are_named_by_their_ids() {
    for id in (0..16).filter(|id| ![CODEC_AVC, 12].contains(id)) {
        let named = VideoTag::Unsupported(UnsupportedCodec::VideoCodecId(id));
        assert_eq!(video(&[0x10 | id]), Ok(named.clone()));
        assert_eq!(video(&[0x20 | id, 1, 2, 3]), Ok(named));
    }
    for format in (0..16).filter(|format| ![2, 7, 8, 9, 10, 14].contains(format)) {
        let named = AudioTag::Unsupported(UnsupportedCodec::SoundFormat(format));
        assert_eq!(audio(&[format << 4 | 0x0F]), Ok(named.clone()));
        assert_eq!(audio(&[format << 4, 1, 2, 3]), Ok(named));
    }
}

#[test]
fn aac_is_read_whatever_the_rate_and_channels_that_its_tag_claims() {
    // E.4.2.1: SoundRate, SoundSize and SoundType say nothing for AAC.
    for low in 0..16 {
        assert_eq!(audio(&[0xA0 | low, 0, 0x11, 0x90]), Ok(aac_config(b"\x11\x90")));
        let frame = Ok(sound(AudioCodec::Aac, b"\x21\x10\x05"));
        assert_eq!(audio(&[0xA0 | low, 1, 0x21, 0x10, 0x05]), frame);
    }
    assert_eq!(audio(b"\xAF\x00"), Ok(aac_config(b"")));
    assert_eq!(audio(b"\xAF\x01"), Ok(sound(AudioCodec::Aac, b"")));
}

#[test]
fn codecs_without_headers_are_told_by_their_sound_format() {
    assert_eq!(audio(b"\x2F\xFF\xFB"), Ok(sound(AudioCodec::Mp3, b"\xFF\xFB")));
    assert_eq!(audio(b"\xEE\xFF\xE3"), Ok(sound(AudioCodec::Mp3, b"\xFF\xE3")));
    assert_eq!(audio(b"\x72\xD5"), Ok(sound(AudioCodec::Pcma(1), b"\xD5")));
    assert_eq!(audio(b"\x83\xFF\xFF"), Ok(sound(AudioCodec::Pcmu(2), b"\xFF\xFF")));
}

#[test]
fn packet_types_that_are_not_defined_are_refused() {
    for packet_type in 3..=255 {
        assert_eq!(video(&[0x17, packet_type, 0, 0, 0]), Err(FlvError::PacketType(packet_type)));
    }
    for packet_type in 2..=255 {
        assert_eq!(audio(&[0xAF, packet_type, 0, 0]), Err(FlvError::PacketType(packet_type)));
    }
}

#[test]
fn tags_that_end_within_their_header_say_how_long_they_are() {
    let body = b"\x17\x01\x00\x00\x28";
    for end in 1..body.len() {
        assert_eq!(video(&body[..end]), Err(FlvError::Truncated(end)));
    }
    assert_eq!(audio(b"\xAF"), Err(FlvError::Truncated(1)));
}

#[test]
fn payloads_are_slices_of_the_message() {
    let body = Bytes::from_static(b"\x17\x01\x00\x00\x00\x00\x00\x00\x01\x65");
    let Ok(VideoTag::Frame { payload, .. }) = VideoTag::parse(&body) else { panic!() };
    assert_eq!(payload.as_ptr(), body[5..].as_ptr());
    let body = Bytes::from_static(b"\xAF\x01\x21\x10");
    let Ok(AudioTag::Frame { payload, .. }) = AudioTag::parse(&body) else { panic!() };
    assert_eq!(payload.as_ptr(), body[2..].as_ptr());
}

#[test]
fn enhanced_rtmp_tags_say_codec_and_packet_type() {
    use VideoCodec::{Av1, Avc, Hevc, Vp9};
    for (four_cc, codec) in [(b"hvc1", Hevc), (b"avc1", Avc), (b"av01", Av1), (b"vp09", Vp9)] {
        let tag = |first: u8, body: &[u8]| video(&[&[first], &four_cc[..], body].concat());
        assert_eq!(tag(0x90, b"\x01\x02"), Ok(record(codec, b"\x01\x02")));
        // CodedFramesX has no composition time, nor have the codecs without reordering.
        assert_eq!(tag(0xA3, b"\x01\x02"), Ok(frame(codec, false, 0, b"\x01\x02")));
        let coded = tag(0x91, b"\xFF\xFF\xD8\x01");
        match codec {
            Hevc | Avc => assert_eq!(coded, Ok(frame(codec, true, -40, b"\x01"))),
            Av1 | Vp9 => assert_eq!(coded, Ok(frame(codec, true, 0, b"\xFF\xFF\xD8\x01"))),
        }
        assert_eq!(tag(0x92, b""), Ok(VideoTag::EndOfSequence));
        // Colours, an MPEG-2 TS sequence start: read over.
        for first in [0x94, 0xD4, 0x95] {
            assert_eq!(tag(first, b"\x01"), Ok(VideoTag::Command), "{first:#04x}");
        }
    }
    assert_eq!(video_four_cc(b"\x90vvc1\x01"), Ok(*b"vvc1"));

    let tag = |first: u8, four_cc: &[u8; 4]| audio(&[&[first], &four_cc[..], b"\x01"].concat());
    for (four_cc, codec) in [
        (b"Opus", AudioCodec::Opus),
        (b"mp4a", AudioCodec::Aac),
        (b".mp3", AudioCodec::Mp3),
        (b"ac-3", AudioCodec::Ac3),
    ] {
        let header = Bytes::from_static(b"\x01");
        assert_eq!(tag(0x90, four_cc), Ok(AudioTag::SequenceHeader { codec, header }));
        assert_eq!(tag(0x91, four_cc), Ok(sound(codec, b"\x01")));
        for first in [0x92, 0x94] {
            assert_eq!(tag(first, four_cc), Ok(AudioTag::Command), "{first:#04x}");
        }
    }
    for four_cc in [b"fLaC", b"ec-3"] {
        assert_eq!(audio_four_cc(&[b"\x91", &four_cc[..]].concat()), Ok(*four_cc));
    }
}

fn track<T>(track_id: u8, tag: T) -> TrackTag<T> {
    TrackTag { track_id, tag }
}

#[test]
fn the_tracks_of_a_multitrack_tag_are_taken_apart() {
    use VideoCodec::{Av1, Hevc};
    // One track: the rest of the message is its.
    let one = video(b"\x96\x03hvc1\x05\x01\x02");
    assert_eq!(one, Ok(VideoTag::Multitrack(vec![track(5, frame(Hevc, true, 0, b"\x01\x02"))])));
    // Many tracks in one codec, each with its size; many codecs, each with its FourCC too.
    let two = video(b"\xA6\x13hvc1\x00\0\0\x01\x09\x01\0\0\x02\x08\x07");
    let wanted = [(0, &b"\x09"[..]), (1, b"\x08\x07")];
    let wanted = wanted.map(|(id, payload)| track(id, frame(Hevc, false, 0, payload)));
    assert_eq!(two, Ok(VideoTag::Multitrack(wanted.to_vec())));
    let other = video(b"\x96\x20av01\x00\0\0\x01\x09vvc1\x01\0\0\0");
    let unsupported = VideoTag::Unsupported(UnsupportedCodec::FourCc(*b"vvc1"));
    let wanted = vec![track(0, record(Av1, b"\x09")), track(1, unsupported)];
    assert_eq!(other, Ok(VideoTag::Multitrack(wanted)));
    let heard = audio(b"\x95\x01Opus\x03\xF8\x09");
    let wanted = vec![track(3, sound(AudioCodec::Opus, b"\xF8\x09"))];
    assert_eq!(heard, Ok(AudioTag::Multitrack(wanted)));
    // A track that claims more than there is.
    let cut = b"\x96\x13hvc1\x00\0\0\x02\x09";
    assert_eq!(video(cut), Err(FlvError::Truncated(cut.len())));
}

#[test]
fn mod_ex_data_before_the_four_cc_is_passed_over() {
    // TimestampOffsetNano: 3 bytes of data (size - 1), then ModEx type 0 and the packet type.
    let payload = frame(VideoCodec::Av1, true, 0, b"payload");
    assert_eq!(video(b"\x97\x02\x01\x02\x03\x01av01payload"), Ok(payload.clone()));
    assert_eq!(audio(b"\x97\x02\x01\x02\x03\x01Opus\x01"), Ok(sound(AudioCodec::Opus, b"\x01")));
    // Several, one after the other; a multitrack behind them.
    assert_eq!(video(b"\x97\x00\xEE\x07\x01\xEE\xEE\x01av01payload"), Ok(payload.clone()));
    let tracks = VideoTag::Multitrack(vec![track(0, payload.clone())]);
    assert_eq!(video(b"\x97\x00\xEE\x06\x01av01\0payload"), Ok(tracks));
    // 255 says that the size has 16 bits.
    for size in [1, 255, 256, 257, 65_536_usize] {
        let coded = ((size - 1) as u16).to_be_bytes();
        let body = [&[0x97, 255], &coded[..], &vec![0xEE; size], b"\x01av01payload"].concat();
        assert_eq!(video(&body), Ok(payload.clone()), "{size}");
    }
}

#[test]
fn enhanced_rtmp_tags_that_end_within_their_header_say_how_long_they_are() {
    for body in [
        &b"\x90hvc1"[..],
        b"\x91hvc1\0\0\0",
        b"\x97\x02\x01\x02\x03\x03hvc1",
        b"\x97\x00\xEE\x07\x00\xEE\x03hvc1",
    ] {
        for end in 1..body.len() {
            assert_eq!(video(&body[..end]), Err(FlvError::Truncated(end)), "{body:02X?}");
        }
        assert!(video(body).is_ok());
    }
    let body = b"\x97\x00\xEE\x05\x01Opus";
    for end in 1..body.len() {
        assert_eq!(audio(&body[..end]), Err(FlvError::Truncated(end)));
    }
}

#[test]
fn a_command_frame_behind_mod_ex_data_is_a_command() {
    // Enhanced RTMP v2 reads ModEx before it looks whether the frame is a command; metadata of a
    // command frame is metadata.
    assert_eq!(video(b"\xD7\x00\xEE\x01\x00"), Ok(VideoTag::Command));
    assert_eq!(video_four_cc(b"\xD7\x00\xEE\x04vvc1"), Ok(*b"vvc1"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_payloads_end_with_the_message(
        first: u8,
        rest in prop::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..40),
    ) {
        let body = [&[first], &rest[..]].concat();
        if let Ok(
            VideoTag::SequenceHeader { record: payload, .. } | VideoTag::Frame { payload, .. },
        ) = video(&body)
        {
            prop_assert!(body.ends_with(&payload));
        }
        if let Ok(
            AudioTag::SequenceHeader { header: payload, .. } | AudioTag::Frame { payload, .. },
        ) = audio(&body)
        {
            prop_assert!(body.ends_with(&payload));
        }
    }

    #[test]
    fn access_units_survive_the_round_trip(
        keyframe: bool,
        composition_time_ms in -0x80_0000_i32..0x80_0000,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let [_, composition_time @ ..] = composition_time_ms.to_be_bytes();
        let first = if keyframe { 0x17 } else { 0x27 };
        let body = [&[first, 1][..], &composition_time, &payload].concat();
        let expected = frame(VideoCodec::Avc, keyframe, composition_time_ms, &payload);
        prop_assert_eq!(video(&body), Ok(expected));
    }
}
