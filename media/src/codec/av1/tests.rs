use proptest::prelude::*;

use super::*;
use crate::codec::fixtures::{av1, hex};

fn header_of(temporal_unit: &[u8]) -> Obu<'_> {
    obus(temporal_unit)
        .map(Result::unwrap)
        .find(|obu| obu.obu_type == obu_type::SEQUENCE_HEADER)
        .unwrap()
}

#[test]
fn records_say_what_other_software_says() {
    for header in av1::ALL {
        let record = hex(header.record);
        let config = Config::parse(&record).unwrap();
        assert_eq!(config.codec_string(), header.codec_string);
        assert_eq!(config.dimensions(), Some(header.dimensions), "{}", header.codec_string);
        assert_eq!(config.sequence_header[..1], [1 << 3]);
        assert_eq!(config.sequence_header[1..], record[6..], "without the size");
    }
}

#[test]
fn the_sequence_header_says_the_same_as_its_record() {
    for header in av1::ALL {
        let record = hex(header.record);
        let config = Config::parse(&record).unwrap();
        let mut learned = Config::default();
        assert!(learned.learn(header_of(&record[4..])));
        assert_eq!(learned, config);
    }
}

#[test]
fn a_sequence_header_in_band_takes_the_place_of_that_of_the_record() {
    let mut config = Config::parse(&hex(av1::SVT.record)).unwrap();
    let in_band = hex(av1::SVT_IN_BAND);
    assert!(config.learn(header_of(&in_band)));
    assert_eq!(config.sequence_header[1..], in_band[2..]);
    assert_eq!(config.dimensions(), Some(av1::SVT.dimensions));
    assert_eq!(config.codec_string(), av1::SVT.codec_string);
}

#[test]
fn a_record_may_leave_the_sequence_header_to_the_stream() {
    let mut config = Config::parse(&hex("81686000")).unwrap();
    let expected = Config { profile: 3, level_idx: 8, bit_depth: 12, ..Config::default() };
    assert_eq!(config, expected);
    assert_eq!((config.dimensions(), config.codec_string()), (None, "av01.3.08M.12".to_owned()));
    let unit = hex(av1::KEYFRAME);
    assert!(config.learn(header_of(&unit)));
    assert_eq!(config.dimensions(), Some((66, 34)));
    assert_eq!(config.codec_string(), "av01.0.00M.08", "what is sent counts");
    assert!(!config.learn(header_of(&unit)), "it is known");
}

#[test]
fn flags_tell_tier_and_bit_depth() {
    for (flags, text) in [
        (0x00, "av01.1.13M.08"),
        (0x80, "av01.1.13H.08"),
        (0x40, "av01.1.13M.10"),
        (0x60, "av01.1.13M.12"),
        (0x20, "av01.1.13M.08"),
        (0xDF, "av01.1.13H.10"),
    ] {
        let config = Config::parse(&Bytes::from(vec![0x81, 1 << 5 | 13, flags, 0])).unwrap();
        assert_eq!(config.codec_string(), text);
    }
    assert_eq!(Config::default().codec_string(), "av01.0.00M.08");
}

#[test]
fn what_is_no_record_of_version_1_is_refused() {
    let record = hex(av1::AOM.record);
    for end in 0..4 {
        assert_eq!(Config::parse(&record.slice(..end)), Err(Av1Error::Record));
    }
    for first in [0x01, 0x80, 0x82, 0x0A] {
        let other = Bytes::from([&[first], &record[1..]].concat());
        assert_eq!(Config::parse(&other), Err(Av1Error::Record));
    }
    // A sequence header that is cut off is none.
    for end in 4..record.len() {
        let config = Config::parse(&record.slice(..end)).unwrap();
        assert_eq!((config.sequence_header.len(), config.dimensions()), (0, None), "{end}");
    }
}

#[test]
fn only_sequence_headers_within_their_bound_are_learned() {
    let mut config = Config::default();
    let obu = |kind: u8, length: usize| [vec![kind << 3], vec![0; length]].concat();
    for (kind, length) in [(2, 5), (6, 5), (1, MAX_SEQUENCE_HEADER_BYTES)] {
        let bytes = obu(kind, length);
        let obu = obus(&bytes).next().unwrap().unwrap();
        assert!(!config.learn(obu), "{kind} of {length}");
    }
    let bytes = obu(1, MAX_SEQUENCE_HEADER_BYTES - 1);
    assert!(config.learn(obus(&bytes).next().unwrap().unwrap()));
    assert_eq!(config.sequence_header.len(), MAX_SEQUENCE_HEADER_BYTES);
}

#[test]
fn a_cut_sequence_header_has_no_size() {
    for header in av1::ALL {
        let whole = Config::parse(&hex(header.record)).unwrap();
        for end in 0..whole.sequence_header.len() {
            let sequence_header = whole.sequence_header.slice(..end);
            let dimensions = Config { sequence_header, ..whole.clone() }.dimensions();
            // Film grain and padding stand behind what is read.
            assert!(dimensions.is_none() || end + 2 >= whole.sequence_header.len(), "{end}");
        }
    }
}

/// Writes bits, most significant first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, count: usize, value: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |byte, (at, &bit)| byte | u8::from(bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// What of the syntax of a sequence header is chosen.
#[derive(Clone, Copy, Debug)]
struct Choices {
    profile: u32,
    level_idx: u32,
    timing: bool,
    decoder_model: bool,
    display_delay: bool,
    operating_points: u32,
    frame_ids: bool,
    order_hint: bool,
    screen_content: u32,
    integer_mv: bool,
    depth: u32,
    size: (u32, u32),
}

/// sequence_header_obu by the letter of AV1, 5.5.1.
fn sequence_header(c: Choices) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(3, c.profile).put(1, 0).put(1, 0).put(1, c.timing.into());
    let decoder_model = c.timing && c.decoder_model;
    if c.timing {
        // equal_picture_interval, and num_ticks_per_picture_minus_1 = 4 as uvlc().
        bits.put(32, 1001).put(32, 60_000).put(1, 1).put(5, 0b00101);
        bits.put(1, decoder_model.into());
        if decoder_model {
            bits.put(5, 9).put(32, 7).put(5, 3).put(5, 4);
        }
    }
    bits.put(1, c.display_delay.into()).put(5, c.operating_points - 1);
    for at in 0..c.operating_points {
        let level_idx = if at == 0 { c.level_idx } else { 9 };
        bits.put(12, 0x101).put(5, level_idx);
        if level_idx > 7 {
            bits.put(1, u32::from(at == 0));
        }
        if decoder_model {
            bits.put(1, 1).put(10, 5).put(10, 6).put(1, 0);
        }
        if c.display_delay {
            bits.put(1, 1).put(4, 9);
        }
    }
    bits.put(4, 15).put(4, 15).put(16, c.size.0 - 1).put(16, c.size.1 - 1);
    bits.put(1, c.frame_ids.into());
    if c.frame_ids {
        bits.put(4, 13).put(3, 0);
    }
    bits.put(3, 0b101).put(4, 0b1010).put(1, c.order_hint.into());
    if c.order_hint {
        bits.put(2, 0b10);
    }
    match c.screen_content {
        2 => bits.put(1, 1),
        force => bits.put(1, 0).put(1, force),
    };
    if c.screen_content > 0 {
        bits.put(1, c.integer_mv.into());
        if !c.integer_mv {
            bits.put(1, 1);
        }
    }
    if c.order_hint {
        bits.put(3, 6);
    }
    bits.put(3, 0b011).put(1, u32::from(c.depth > 8));
    if c.profile == 2 && c.depth > 8 {
        bits.put(1, u32::from(c.depth == 12));
    }
    bits.put(1, 0).bytes()
}

#[test]
fn a_reduced_still_picture_header_is_read() {
    let mut bits = Bits::default();
    bits.put(3, 1).put(1, 1).put(1, 1).put(5, 21);
    bits.put(4, 7).put(4, 5).put(8, 199).put(6, 33);
    // Tools; high_bitdepth.
    bits.put(3, 0).put(3, 0).put(1, 1).put(1, 0);
    let fields = SequenceHeader::parse(&bits.bytes());
    let (profile, level_idx, tier, bit_depth) = (1, 21, 0, 10);
    let dimensions = (200, 34);
    assert_eq!(fields, Some(SequenceHeader { profile, level_idx, tier, bit_depth, dimensions }));
}

#[test]
fn obus_are_taken_apart_with_and_without_sizes_and_extensions() {
    // A temporal delimiter, a frame header with an extension and a size of two bytes, a tile group without size.
    let bytes = [0x12, 0, 0x1E, 0xA8, 0x83, 0x00, 1, 2, 3, 0x24, 0x48, 9, 8];
    let read: Vec<_> = obus(&bytes).map(Result::unwrap).collect();
    let types: Vec<_> = read.iter().map(|obu| (obu.obu_type, obu.is_picture())).collect();
    assert_eq!(types, [(2, false), (3, true), (4, false)]);
    assert_eq!(read[0].without_size(), [0x10]);
    assert_eq!(read[1].without_size(), [0x1C, 0xA8, 1, 2, 3]);
    assert_eq!(read[2].without_size(), [0x24, 0x48, 9, 8]);
    assert_eq!((read[1].header(), read[1].payload), (&[0x1C, 0xA8][..], &[1, 2, 3][..]));
    assert!(read.iter().all(|obu| obu.bytes() == obu.without_size().len()));
}

#[test]
fn an_obu_that_ends_behind_its_temporal_unit_is_an_error_and_the_last_thing() {
    let unit = hex(av1::KEYFRAME);
    let mut whole = vec![];
    for end in 1..unit.len() {
        let mut read: Vec<_> = obus(&unit[..end]).collect();
        if ![2, 14].contains(&end) {
            assert_eq!(read.pop().unwrap().unwrap_err(), Av1Error::Truncated(end));
        }
        whole.push(read.len());
        assert!(read.iter().all(Result::is_ok), "{end}");
    }
    assert_eq!((whole[0], whole[1], whole[13], whole.last()), (0, 1, 2, Some(&2)));
    assert!(obus(&[]).next().is_none());
    for bytes in [&[0x16][..], &[0x12], &[0x12, 0x80], &[0x12, 0xFF, 0xFF, 0xFF, 0x7F, 1]] {
        assert!(matches!(obus(bytes).collect::<Vec<_>>()[..], [Err(_)]), "{bytes:?}");
    }
}

#[test]
fn leb128_ends_within_eight_bytes() {
    assert_eq!(leb128(&[0x7F, 9]), Some((127, &[9][..])));
    assert_eq!(leb128(&[0xE5, 0x8E, 0x26]), Some((624_485, &[][..])));
    assert_eq!(leb128(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 5]), Some((1, &[5][..])));
    assert_eq!(leb128(&[0x80; 9]), None);
    assert_eq!(leb128(&[0x80]), None);
    assert_eq!(leb128(&[]), None);
}

prop_compose! {
    fn any_choices()(
        (profile, level_idx, operating_points, screen_content) in (0u32..3, 0u32..24, 1u32..=32, 0u32..3),
        (timing, decoder_model, display_delay) in any::<(bool, bool, bool)>(),
        (frame_ids, order_hint, integer_mv) in any::<(bool, bool, bool)>(),
        depth in prop::sample::select(vec![8, 10, 12]),
        size in (1u32..=65_536, 1u32..=65_536),
    ) -> Choices {
        let depth = if profile == 2 { depth } else { depth.min(10) };
        Choices {
            profile, level_idx, timing, decoder_model, display_delay, operating_points,
            frame_ids, order_hint, screen_content, integer_mv, depth, size,
        }
    }
}

proptest! {
    #[test]
    fn whatever_stands_in_between_the_fields_are_found(choices in any_choices()) {
        let header = [&[0x08][..], &sequence_header(choices)].concat();
        let mut config = Config::default();
        prop_assert!(config.learn(obus(&header).next().unwrap().unwrap()));
        prop_assert_eq!(config.dimensions(), Some(choices.size));
        let tier = if choices.level_idx > 7 { 'H' } else { 'M' };
        let Choices { profile, level_idx, depth, .. } = choices;
        prop_assert_eq!(config.codec_string(), format!("av01.{profile}.{level_idx:02}{tier}.{depth:02}"));
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..150),
    ) {
        let _ = Config::parse(&[&[0x81, 0, 0, 0], &bytes[..]].concat().into());
        let _ = SequenceHeader::parse(&bytes);
        let all: usize = obus(&bytes).flatten().map(|obu| obu.bytes()).sum();
        prop_assert!(all <= bytes.len());
    }
}
