use proptest::prelude::*;

use super::*;
use crate::codec::fixtures::{hex, vp9};

#[test]
fn records_say_what_other_software_says() {
    for (header, _) in &vp9::ALL {
        let record = hex(header.record);
        let config = Config::parse(&record).unwrap();
        assert_eq!(config.codec_string(), header.codec_string);
        // Without the version and flags of the box.
        assert_eq!(Config::parse(&record[4..]), Ok(config));
        assert_eq!(config.dimensions, None);
    }
    assert_eq!(Config::default().codec_string(), "vp09.00.10.08", "what is not known is the least");
}

#[test]
fn every_record_without_a_bit_depth_is_refused() {
    let record = hex(vp9::PROFILE_3.record);
    for end in 0..3 {
        assert_eq!(Config::parse(&record[..end]), Err(Vp9Error::Record(end)));
        assert_eq!(Config::parse(&record[4..4 + end]), Err(Vp9Error::Record(end)));
    }
    // Profiles end at 3.
    assert_eq!(Config::parse(&[9, 31, 0xA0]).unwrap().codec_string(), "vp09.03.31.10");
}

#[test]
fn keyframes_tell_profile_and_size() {
    for (at, (header, keyframe)) in vp9::ALL.iter().enumerate() {
        let frame = FrameHeader::parse(&hex(keyframe)).unwrap();
        let profile = [0, 1, 3][at];
        let dimensions = Some(header.dimensions);
        assert_eq!(frame, FrameHeader { profile, keyframe: true, dimensions });
    }
    let frame = FrameHeader::parse(&hex(vp9::KEYFRAME)).unwrap();
    assert_eq!(frame.dimensions, Some((66, 34)));
}

#[test]
fn other_frames_tell_no_size() {
    let expected = FrameHeader { profile: 0, keyframe: false, dimensions: None };
    assert_eq!(FrameHeader::parse(&hex(vp9::FRAME)), Ok(expected));
    // show_existing_frame of profile 0 and 3, before which there is a reserved bit.
    assert_eq!(FrameHeader::parse(&[0b1000_1000]), Ok(expected));
    let expected = FrameHeader { profile: 3, ..expected };
    assert_eq!(FrameHeader::parse(&[0b1011_0100]), Ok(expected));
    // A key frame of profile 2, 12 bits, 4:2:0, of 16 by 8 pixels: VP9, 6.2.
    let bits: u128 = 0b1001_0010 << 64 | 0x49_8342 << 40 | 0b1_0100 << 35 | 15 << 19 | 7 << 3;
    let bytes = bits.to_be_bytes();
    let frame = FrameHeader::parse(&bytes[7..]).unwrap();
    assert_eq!(frame, FrameHeader { profile: 2, keyframe: true, dimensions: Some((16, 8)) });
}

#[test]
fn what_has_no_frame_marker_or_ends_within_its_first_byte_is_no_frame() {
    for frame in [&[][..], &[0x00], &[0x42, 0x49], &[0xC2, 0x49]] {
        assert_eq!(FrameHeader::parse(frame), Err(Vp9Error::Frame), "{frame:?}");
    }
}

#[test]
fn a_keyframe_that_is_cut_off_or_without_sync_code_has_no_size() {
    for (at, (header, keyframe)) in vp9::ALL.iter().enumerate() {
        let keyframe = hex(keyframe);
        let size_ends = [9, 9, 10][at];
        for end in 2..keyframe.len() {
            let frame = FrameHeader::parse(&keyframe[..end]).unwrap();
            assert!(frame.keyframe);
            assert!(frame.dimensions.is_none() || frame.dimensions == Some(header.dimensions));
            assert_eq!(frame.dimensions.is_some(), end >= size_ends, "{end}");
        }
        let mut other = keyframe.to_vec();
        other[2] ^= 0x40;
        assert_eq!(FrameHeader::parse(&other).unwrap().dimensions, None);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        record in proptest::collection::vec(any::<u8>(), 0..16),
        first in 0x80u8..0xC0,
        rest in proptest::collection::vec(any::<u8>(), 0..16),
    ) {
        if let Ok(config) = Config::parse(&record) {
            prop_assert!(config.profile <= 3);
            let _ = config.codec_string();
        }
        let frame = [&[first][..], &rest].concat();
        if let Ok(header) = FrameHeader::parse(&frame) {
            prop_assert!(header.dimensions.is_none() || header.keyframe);
        }
    }
}
