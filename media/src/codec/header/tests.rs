use proptest::prelude::*;

use super::*;
use crate::codec::{
    Codec,
    fixtures::{audio, av1 as av1_bytes, hevc, hex, vp9 as vp9_bytes},
};

fn hevc_header() -> VideoHeader {
    VideoHeader::parse(VideoCodec::Hevc, &hex(hevc::MAIN.record)).unwrap()
}

fn keyframe(header: &mut VideoHeader, unit: &[u8], said: bool) -> bool {
    header.read(unit, said).unwrap().keyframe
}

/// A NAL unit behind a length of four bytes.
fn prefixed(nal: &[u8]) -> Vec<u8> {
    [&(nal.len() as u32).to_be_bytes()[..], nal].concat()
}

#[test]
fn every_codec_has_its_header() {
    let video = [
        (VideoCodec::Hevc, hevc::MAIN.record, Codec::H265, "hvc1.1.6.L120.90"),
        (VideoCodec::Av1, av1_bytes::AOM_444.record, Codec::Av1, "av01.1.00M.10"),
        (VideoCodec::Vp9, vp9_bytes::PROFILE_3.record, Codec::Vp9, "vp09.03.11.10"),
    ];
    for (codec, record, of, text) in video {
        let header = VideoHeader::parse(codec, &hex(record)).unwrap();
        assert_eq!((header.codec(), header.config().codec()), (codec, of));
        assert_eq!(header.config().codec_string(), text);
        assert_eq!(header.config().clock_rate().hz(), 90_000);
        assert!(header.config().is_complete());
        assert!(VideoHeader::parse(codec, &Bytes::new()).is_err());
    }
    let sound = [
        (AudioCodec::Mp3, audio::MP3[0], Codec::Mp3, 44_100, 90_000, 2),
        (AudioCodec::Ac3, audio::AC3_5_1, Codec::Ac3, 48_000, 48_000, 6),
        (AudioCodec::Ac3, audio::AC3_STEREO, Codec::Ac3, 44_100, 44_100, 2),
        (AudioCodec::Opus, audio::OPUS_PACKET, Codec::Opus, 48_000, 48_000, 2),
        (AudioCodec::Pcma(1), "00", Codec::G711, 8_000, 8_000, 1),
        (AudioCodec::Pcmu(2), "00", Codec::G711, 8_000, 8_000, 2),
    ];
    for (codec, frame, of, rate, clock, channels) in sound {
        let header = AudioHeader::of_frame(codec, &hex(frame)).unwrap().unwrap();
        let config = header.config();
        assert_eq!((config.codec(), config.sample_rate(), config.channels()), (of, rate, channels));
        assert_eq!(config.clock_rate().hz(), clock);
        assert!(header.is_for(codec) && !header.is_for(AudioCodec::Aac));
    }
}

#[test]
fn opus_is_told_by_its_header_and_else_stereo() {
    for (header, channels) in [(audio::OPUS_STEREO, 2), (audio::OPUS_MONO, 1)] {
        let header = AudioHeader::parse(AudioCodec::Opus, &hex(header)).unwrap().unwrap();
        assert_eq!(header.config().channels(), channels);
        assert_eq!(header.samples(&hex(audio::OPUS_PACKET)), Ok(960));
    }
    for codec in [AudioCodec::Mp3, AudioCodec::Ac3, AudioCodec::Pcma(1), AudioCodec::Pcmu(1)] {
        assert_eq!(AudioHeader::parse(codec, &Bytes::new()), Ok(None));
    }
    assert_eq!(AudioHeader::of_frame(AudioCodec::Aac, &[1, 2]), Ok(None));
}

#[test]
fn a_random_access_picture_of_hevc_is_a_keyframe_whatever_its_tag_says() {
    let mut header = hevc_header();
    for (unit, expected) in
        [(hevc::IDR, true), (hevc::CRA, true), (hevc::RASL, false), (hevc::TRAIL, false)]
    {
        for said in [false, true] {
            assert_eq!(keyframe(&mut header, &hex(unit), said), expected, "{unit}");
        }
    }
    for kind in 0..64_u8 {
        let unit = [prefixed(&[35 << 1, 1, 0x50]), prefixed(&[kind << 1, 1, 7])].concat();
        assert_eq!(keyframe(&mut header, &unit, false), (16..=23).contains(&kind), "{kind}");
    }
}

#[test]
fn parameter_sets_of_hevc_are_learned_in_band_until_they_are_known() {
    let VideoHeader::H265(known) = hevc_header() else { panic!("H.265") };
    let empty = Bytes::from([&hex(hevc::MAIN.record)[..22], &[0]].concat());
    let mut header = VideoHeader::parse(VideoCodec::Hevc, &empty).unwrap();
    assert!(!header.config().is_complete());
    let sets = [&known.config.vps[0], &known.config.sps[0], &known.config.pps[0]];
    let unit = [sets.map(|set| prefixed(set)).concat(), hex(hevc::IDR).to_vec()].concat();
    assert_eq!(header.read(&unit, true), Ok(VideoFrame { keyframe: true, learned: true }));
    assert_eq!(header, VideoHeader::H265(known));
    let other = prefixed(&[0x44, 1, 0xC0, 9]);
    assert_eq!(header.read(&other, true), Ok(VideoFrame::default()));
}

#[test]
fn a_broken_access_unit_of_hevc_is_an_error_and_teaches_nothing() {
    let mut header = hevc_header();
    let before = header.clone();
    let unit = hex(hevc::CRA);
    for end in 0..unit.len() {
        assert!(header.read(&unit[..end], true).is_err(), "{end}");
    }
    assert_eq!(header.read(&[0; 8], true), Err(CodecError::Empty));
    assert_eq!(header, before);
}

#[test]
fn a_keyframe_of_av1_is_what_its_tag_says() {
    let mut header = VideoHeader::parse(VideoCodec::Av1, &hex(av1_bytes::AOM.record)).unwrap();
    let learned = header.read(&hex(av1_bytes::KEYFRAME), true);
    assert_eq!(learned, Ok(VideoFrame { keyframe: true, learned: true }));
    assert_eq!(header.config().dimensions(), Some((66, 34)));
    let again = header.read(&hex(av1_bytes::KEYFRAME), true);
    assert_eq!(again, Ok(VideoFrame { keyframe: true, learned: false }));
    for unit in [av1_bytes::FRAME, av1_bytes::SHOW_EXISTING] {
        assert_eq!(header.read(&hex(unit), false), Ok(VideoFrame::default()));
    }
}

#[test]
fn a_temporal_unit_without_a_picture_or_cut_off_is_an_error_and_teaches_nothing() {
    let mut header = VideoHeader::parse(VideoCodec::Av1, &hex(av1_bytes::AOM.record)).unwrap();
    let before = header.clone();
    let empty = Err(CodecError::Av1(av1::Av1Error::Empty));
    assert_eq!(header.read(&[], true), empty);
    assert_eq!(header.read(&hex("12000a0a000000032c184daf9004"), true), empty);
    let unit = hex(av1_bytes::KEYFRAME);
    for end in 0..unit.len() {
        assert!(header.read(&unit[..end], true).is_err(), "{end}");
    }
    assert_eq!(header, before);
}

#[test]
fn keyframes_of_vp9_tell_profile_and_size() {
    let mut header =
        VideoHeader::parse(VideoCodec::Vp9, &hex(vp9_bytes::PROFILE_0.record)).unwrap();
    assert_eq!(header.config().dimensions(), None);
    let frame = header.read(&hex(vp9_bytes::KEYFRAME), false);
    assert_eq!(frame, Ok(VideoFrame { keyframe: true, learned: true }));
    assert_eq!(header.config().dimensions(), Some((66, 34)));
    assert_eq!(header.read(&hex(vp9_bytes::FRAME), true), Ok(VideoFrame::default()));
    let frame = header.read(&hex(vp9_bytes::PROFILE_3_KEYFRAME), true);
    assert_eq!(frame, Ok(VideoFrame { keyframe: true, learned: true }));
    assert_eq!(header.config().dimensions(), Some((322, 182)));
    assert_eq!(header.config().codec_string()[..8], *"vp09.03.");
    assert!(header.read(&[], true).is_err());
}

#[test]
fn frames_of_sound_last_as_they_say() {
    let of = |codec, frame: &[u8]| AudioHeader::of_frame(codec, frame).unwrap().unwrap();
    let mut frame = hex(audio::MP3[0]).to_vec();
    frame.resize(417, 0);
    let mut padded = hex(audio::MP3[1]).to_vec();
    padded.resize(418, 0);
    let mp3 = of(AudioCodec::Mp3, &frame);
    assert_eq!(mp3.samples(&frame), Ok(1152));
    assert_eq!(mp3.samples(&[frame, padded].concat()), Ok(2304));
    assert_eq!(of(AudioCodec::Ac3, &hex(audio::AC3_5_1)).samples(&[0x0B, 0x77]), Ok(1536));
    assert_eq!(of(AudioCodec::Pcma(2), &[0; 4]).samples(&[0; 320]), Ok(160));
    assert_eq!(of(AudioCodec::Pcma(1), &[0; 4]).samples(&[]), Err(CodecError::Empty));
    assert!(AudioHeader::of_frame(AudioCodec::Mp3, b"TAG").is_err());
    assert!(AudioHeader::of_frame(AudioCodec::Ac3, &[0x0B]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        unit in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..80),
        said in any::<bool>(),
    ) {
        let records = [
            (VideoCodec::Hevc, hevc::TWO_SUB_LAYERS.record),
            (VideoCodec::Av1, av1_bytes::SVT.record),
            (VideoCodec::Vp9, vp9_bytes::PROFILE_0.record),
        ];
        for (codec, record) in records {
            let mut header = VideoHeader::parse(codec, &hex(record)).unwrap();
            let before = header.clone();
            match header.read(&unit, said) {
                Ok(frame) => prop_assert_eq!(frame.learned, header != before),
                Err(_) => prop_assert_eq!(header, before),
            }
            let _ = VideoHeader::parse(codec, &unit.clone().into());
        }
        for codec in [AudioCodec::Opus, AudioCodec::Mp3, AudioCodec::Ac3, AudioCodec::Pcmu(2)] {
            let _ = AudioHeader::parse(codec, &unit.clone().into());
            if let Ok(Some(header)) = AudioHeader::of_frame(codec, &unit) {
                let _ = header.samples(&unit);
            }
        }
    }
}
