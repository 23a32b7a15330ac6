use proptest::prelude::*;

use super::*;

fn video(body: &[u8]) -> Result<VideoTag, FlvError> {
    VideoTag::parse(&Bytes::copy_from_slice(body))
}

fn audio(body: &[u8]) -> Result<AudioTag, FlvError> {
    AudioTag::parse(&Bytes::copy_from_slice(body))
}

fn nal_units(keyframe: bool, composition_time_ms: i32, payload: &'static [u8]) -> VideoTag {
    let payload = Bytes::from_static(payload);
    VideoTag::AvcNalUnits { keyframe, composition_time_ms, payload }
}

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
    let record = Bytes::from_static(b"\x01\x4D\x40\x1F");
    assert_eq!(
        video(b"\x17\x00\x00\x00\x00\x01\x4D\x40\x1F"),
        Ok(VideoTag::AvcSequenceHeader(record))
    );
    // Some encoders do not call it a keyframe; the record may be missing.
    assert_eq!(video(b"\x27\x00\x00\x00\x00"), Ok(VideoTag::AvcSequenceHeader(Bytes::new())));
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
        assert_eq!(video(body), Ok(VideoTag::AvcEndOfSequence), "{body:02X?}");
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
    for id in (0..16).filter(|id| *id != CODEC_AVC) {
        let named = VideoTag::Unsupported(UnsupportedCodec::VideoCodecId(id));
        assert_eq!(video(&[0x10 | id]), Ok(named.clone()));
        assert_eq!(video(&[0x20 | id, 1, 2, 3]), Ok(named));
    }
    for format in (0..16).filter(|format| ![SOUND_AAC, SOUND_EX_HEADER].contains(format)) {
        let named = AudioTag::Unsupported(UnsupportedCodec::SoundFormat(format));
        assert_eq!(audio(&[format << 4 | 0x0F]), Ok(named.clone()));
        assert_eq!(audio(&[format << 4, 1, 2, 3]), Ok(named));
    }
}

#[test]
fn aac_is_read_whatever_the_rate_and_channels_that_its_tag_claims() {
    // E.4.2.1: SoundRate, SoundSize and SoundType say nothing for AAC.
    for low in 0..16 {
        let config = Bytes::from_static(b"\x11\x90");
        assert_eq!(audio(&[0xA0 | low, 0, 0x11, 0x90]), Ok(AudioTag::AacSequenceHeader(config)));
        let frame = Bytes::from_static(b"\x21\x10\x05");
        assert_eq!(audio(&[0xA0 | low, 1, 0x21, 0x10, 0x05]), Ok(AudioTag::AacRaw(frame)));
    }
    assert_eq!(audio(b"\xAF\x00"), Ok(AudioTag::AacSequenceHeader(Bytes::new())));
    assert_eq!(audio(b"\xAF\x01"), Ok(AudioTag::AacRaw(Bytes::new())));
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
    let Ok(VideoTag::AvcNalUnits { payload, .. }) = VideoTag::parse(&body) else { panic!() };
    assert_eq!(payload.as_ptr(), body[5..].as_ptr());
    let body = Bytes::from_static(b"\xAF\x01\x21\x10");
    let Ok(AudioTag::AacRaw(payload)) = AudioTag::parse(&body) else { panic!() };
    assert_eq!(payload.as_ptr(), body[2..].as_ptr());
}

#[test]
fn enhanced_rtmp_tags_are_named_by_their_four_cc() {
    // Each frame type but command, each packet type but ModEx and multitrack: the headers that
    // ffmpeg 7 writes for HEVC are 0x90, 0x91, 0xA1, 0xA3 and, with colour metadata, 0xD4.
    for four_cc in [b"hvc1", b"av01", b"vp09", b"avc1", b"vvc1"] {
        for first in [0x80, 0x90, 0x91, 0x92, 0x93, 0x95, 0xA1, 0xA3, 0x94, 0xD4] {
            let body = [&[first], &four_cc[..], b"\0\0\x28payload"].concat();
            assert_eq!(video_four_cc(&body), Ok(*four_cc), "{first:#04x}");
            assert_eq!(video_four_cc(&body[..5]), Ok(*four_cc), "{first:#04x}");
        }
    }
    for four_cc in [b"Opus", b"fLaC", b"ac-3", b"ec-3", b".mp3", b"mp4a"] {
        for first in [0x90, 0x91, 0x92, 0x94] {
            let body = [&[first], &four_cc[..], b"payload"].concat();
            assert_eq!(audio_four_cc(&body), Ok(*four_cc), "{first:#04x}");
        }
    }
}

#[test]
fn the_first_four_cc_of_a_multitrack_tag_names_it() {
    // One track, many tracks, many tracks with many codecs (AvMultitrackType 0, 1 and 2), each with
    // the packet type of its tracks in the low bits.
    for kinds in [0x00, 0x01, 0x11, 0x13, 0x21] {
        let track = b"hvc1\0\0\0\x05";
        assert_eq!(video_four_cc(&[&[0x96, kinds], &track[..]].concat()), Ok(*b"hvc1"));
        assert_eq!(video_four_cc(&[&[0xA6, kinds], &track[..]].concat()), Ok(*b"hvc1"));
        let track = b"Opus\0\0\0\x05";
        assert_eq!(audio_four_cc(&[&[0x95, kinds], &track[..]].concat()), Ok(*b"Opus"));
    }
}

#[test]
fn mod_ex_data_before_the_four_cc_is_passed_over() {
    // TimestampOffsetNano: 3 bytes of data (size - 1), then ModEx type 0 and the packet type.
    let body = b"\x97\x02\x01\x02\x03\x01hvc1payload";
    assert_eq!(video_four_cc(body), Ok(*b"hvc1"));
    assert_eq!(audio_four_cc(b"\x97\x02\x01\x02\x03\x01Opus"), Ok(*b"Opus"));
    // Several, one after the other; a multitrack behind them.
    let body = b"\x97\x00\xEE\x07\x01\xEE\xEE\x01hvc1";
    assert_eq!(video_four_cc(body), Ok(*b"hvc1"));
    let body = b"\x97\x00\xEE\x06\x01hvc1\0\0\0\x05";
    assert_eq!(video_four_cc(body), Ok(*b"hvc1"));
    let body = b"\x97\x00\xEE\x05\x01Opus\0\0\0\x05";
    assert_eq!(audio_four_cc(body), Ok(*b"Opus"));
    // 255 says that the size has 16 bits.
    for size in [1, 255, 256, 257, 65_536_usize] {
        let coded = ((size - 1) as u16).to_be_bytes();
        let body = [&[0x97, 255], &coded[..], &vec![0xEE; size], b"\x01hvc1"].concat();
        assert_eq!(video_four_cc(&body), Ok(*b"hvc1"), "{size}");
    }
}

#[test]
fn enhanced_rtmp_tags_that_end_within_their_header_say_how_long_they_are() {
    for body in [
        &b"\x90hvc1"[..],
        b"\x96\x01hvc1",
        b"\x97\x02\x01\x02\x03\x01hvc1",
        b"\x97\xFF\x00\x01\xEE\xEE\x06\x01hvc1",
        b"\x97\x00\xEE\x07\x00\xEE\x01hvc1",
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
    assert_eq!(video_four_cc(b"\xD7\x00\xEE\x04hvc1"), Ok(*b"hvc1"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_payloads_end_with_the_message(
        first: u8,
        rest in prop::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..40),
    ) {
        let body = [&[first], &rest[..]].concat();
        if let Ok(VideoTag::AvcSequenceHeader(payload) | VideoTag::AvcNalUnits { payload, .. }) =
            video(&body)
        {
            prop_assert_eq!(&payload, &body[5..]);
        }
        if let Ok(AudioTag::AacSequenceHeader(payload) | AudioTag::AacRaw(payload)) = audio(&body) {
            prop_assert_eq!(&payload, &body[2..]);
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
        let payload = payload.into();
        let expected = VideoTag::AvcNalUnits { keyframe, composition_time_ms, payload };
        prop_assert_eq!(video(&body), Ok(expected));
    }
}
