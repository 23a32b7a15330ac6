use proptest::prelude::*;

use super::*;
use crate::codec::fixtures::{Header, hevc, hex};

fn config(header: &Header) -> Config {
    DecoderConfigurationRecord::parse(&hex(header.record)).unwrap().config
}

/// A record with arrays of NAL units.
fn record(length_size: u8, arrays: &[(u8, &[&[u8]])]) -> Bytes {
    let mut record = hex(hevc::MAIN.record)[..21].to_vec();
    record.extend([0xFC | (length_size - 1), arrays.len() as u8]);
    for (kind, nals) in arrays {
        record.push(0x80 | kind);
        record.extend((nals.len() as u16).to_be_bytes());
        for nal in *nals {
            record.extend((nal.len() as u16).to_be_bytes());
            record.extend(*nal);
        }
    }
    record.into()
}

/// The numbers of a codec string, so that `.08` is `.8`: each is a number (ISO/IEC 14496-15, E.3).
fn parts(codec_string: &str) -> Vec<String> {
    codec_string.split('.').map(|part| part.trim_start_matches('0').to_owned()).collect()
}

#[test]
fn size_and_codec_string_are_what_other_software_says() {
    for header in hevc::ALL {
        let config = config(header);
        assert_eq!(config.dimensions(), Some(header.dimensions), "{}", header.codec_string);
        assert_eq!(parts(&config.codec_string()), parts(header.codec_string));
        assert!(config.is_complete());
    }
    assert_eq!(Config::default().codec_string(), "");
    assert_eq!((Config::default().dimensions(), Config::default().is_complete()), (None, false));
}

#[test]
fn profile_tier_and_level_are_those_of_the_record() {
    for header in hevc::ALL {
        let record = hex(header.record);
        let ptl = config(header).profile_tier_level().unwrap();
        assert_eq!(ptl.profile_space << 6 | ptl.tier << 5 | ptl.profile, record[1]);
        assert_eq!(ptl.compatibility.to_be_bytes(), record[2..6]);
        assert_eq!((&ptl.constraints[..], ptl.level), (&record[6..12], record[12]));
    }
}

#[test]
fn every_profile_space_has_its_letter() {
    let mut config = config(&hevc::MAIN);
    for (space, text) in [(0, "hvc1.1."), (1, "hvc1.A1."), (2, "hvc1.B1."), (3, "hvc1.C1.")] {
        let mut sps = config.sps[0].to_vec();
        sps[3] = space << 6 | sps[3] & 0b11_1111;
        config.sps = vec![sps.into()];
        assert!(config.codec_string().starts_with(text), "{}", config.codec_string());
    }
}

#[test]
fn constraint_bytes_end_with_the_last_that_is_set() {
    // Behind the four of compatibility, of which the last is followed by emulation prevention: by hand without.
    let with = |constraints: [u8; 6]| {
        let head = [0x42, 1, 1, 1, 0xE0, 1, 1, 1];
        let sps = [&head[..], &constraints, &[93, 0xA0, 0x88]].concat();
        Config { sps: vec![sps.into()], ..Config::default() }.codec_string()
    };
    assert_eq!(with([0xB0, 0, 1, 0, 1, 0]), "hvc1.1.80808007.L93.B0.0.1.0.1");
    assert_eq!(with([1, 1, 1, 1, 1, 0xFF]), "hvc1.1.80808007.L93.1.1.1.1.1.FF");
}

#[test]
fn a_record_is_read_without_copies() {
    for length_size in 1..=4 {
        let (vps, sps, pps) = (&[0x40, 1, 2][..], &[0x42, 1, 3][..], &[0x44, 1, 4][..]);
        let bytes = record(length_size, &[(32, &[vps]), (33, &[sps]), (34, &[pps, pps])]);
        let parsed = DecoderConfigurationRecord::parse(&bytes).unwrap();
        assert_eq!(parsed.length_size, length_size);
        assert_eq!(parsed.config.vps, [vps]);
        assert_eq!(parsed.config.sps, [sps]);
        assert_eq!(parsed.config.pps, [pps, pps]);
        assert!(bytes.as_ptr_range().contains(&parsed.config.sps[0].as_ptr()));
    }
}

#[test]
fn nal_units_go_by_their_own_type_and_others_are_passed_over() {
    // An SEI, an empty one and one without a byte behind its header; a PPS among the VPS, as some muxers order them.
    let bytes = record(
        4,
        &[(39, &[&[0x4E, 1, 5]]), (32, &[&[], &[0x44, 1, 4], &[0x40, 1]]), (33, &[&[0x42, 1, 3]])],
    );
    let parsed = DecoderConfigurationRecord::parse(&bytes).unwrap().config;
    let [sps, pps] = [&[0x42, 1, 3][..], &[0x44, 1, 4]].map(|set| vec![Bytes::from(set)]);
    assert_eq!(parsed, Config { vps: vec![], sps, pps });
    assert!(!parsed.is_complete());
}

#[test]
fn every_truncated_record_is_refused() {
    for header in hevc::ALL {
        let bytes = hex(header.record);
        for end in 0..bytes.len() {
            let refused = DecoderConfigurationRecord::parse(&bytes.slice(..end));
            assert_eq!(refused, Err(H265Error::Truncated(end)));
        }
        // What follows the arrays is not looked at.
        let longer = Bytes::from([&bytes[..], &[7; 9]].concat());
        assert_eq!(DecoderConfigurationRecord::parse(&longer).unwrap().config, config(header));
    }
}

#[test]
fn a_truncated_sps_has_no_size_and_a_whole_one_is_looked_for() {
    for header in hevc::ALL {
        let mut config = config(header);
        let whole = config.sps[0].clone();
        let size = config.dimensions();
        // The size lies within the first 25 bytes, emulation prevention included.
        for end in 0..whole.len() {
            config.sps = vec![whole.slice(..end)];
            let cut = config.dimensions();
            assert!(cut.is_none() || cut == size && end >= 19, "{end}: {cut:?}");
            config.sps.push(whole.clone());
            assert_eq!(config.dimensions(), size);
            assert!(config.profile_tier_level().is_some());
        }
    }
}

/// Writes bits, most significant first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, count: usize, value: u64) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let bits = (value + 1).ilog2() as usize;
        self.put(bits, 0).put(bits + 1, u64::from(value) + 1)
    }

    /// The NAL unit, emulation prevention put in.
    fn nal(&self, header: [u8; 2]) -> Vec<u8> {
        let mut nal = header.to_vec();
        let mut zeros = 0;
        for bits in self.0.chunks(8) {
            let byte =
                bits.iter().enumerate().fold(0, |b, (at, &bit)| b | u8::from(bit) << (7 - at));
            if zeros >= 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

/// An SPS of these sub-layers (profile and level present), chroma format, coded size and conformance window (H.265, 7.3.2.2.1).
fn sps(
    id: u32,
    sub_layers: &[(bool, bool)],
    chroma_format: u32,
    (width, height): (u32, u32),
    window: Option<[u32; 4]>,
) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(4, 0).put(3, sub_layers.len() as u64).put(1, 1);
    bits.put(8, 1).put(32, 0x6000_0000).put(48, 0x9000_0000_0000).put(8, 93);
    for &(profile, level) in sub_layers {
        bits.put(1, profile.into()).put(1, level.into());
    }
    if !sub_layers.is_empty() {
        bits.put(2 * (8 - sub_layers.len()), 0);
    }
    for &(profile, level) in sub_layers {
        if profile {
            bits.put(60, 0x123).put(28, 0x456);
        }
        if level {
            bits.put(8, 90);
        }
    }
    bits.ue(id).ue(chroma_format);
    if chroma_format == 3 {
        bits.put(1, 0);
    }
    bits.ue(width).ue(height);
    match window {
        None => bits.put(1, 0),
        Some(edges) => edges.iter().fold(bits.put(1, 1), |bits, &edge| bits.ue(edge)),
    };
    bits.put(40, 0xAA_AAAA_AAAA);
    bits.nal([0x42, 1])
}

fn dimensions(sps: Vec<u8>) -> Option<(u32, u32)> {
    Config { sps: vec![sps.into()], ..Config::default() }.dimensions()
}

#[test]
fn the_window_is_cut_off_in_units_of_the_chroma_format() {
    let window = Some([1, 2, 3, 4]);
    for (chroma_format, size) in [(0, (97, 93)), (1, (94, 86)), (2, (94, 93)), (3, (97, 93))] {
        assert_eq!(dimensions(sps(0, &[], chroma_format, (100, 100), window)), Some(size));
    }
    assert_eq!(dimensions(sps(0, &[], 1, (100, 100), None)), Some((100, 100)));
    assert_eq!(dimensions(sps(0, &[], 1, (100, 100), Some([50, 1, 0, 0]))), None, "nothing left");
    assert_eq!(dimensions(sps(0, &[], 1, (100, 100), Some([1 << 30, 1 << 30, 0, 0]))), None);
}

#[test]
fn sub_layers_with_profiles_and_levels_of_their_own_are_passed_over() {
    for profile in [false, true] {
        for level in [false, true] {
            for count in 0..=6 {
                let sps =
                    sps(3, &vec![(profile, level); count], 1, (1920, 1088), Some([0, 0, 0, 4]));
                assert_eq!(dimensions(sps.clone()), Some((1920, 1080)), "{count}");
                let mut config = Config::default();
                assert!(config.learn(&sps) && config.sps == [sps]);
            }
        }
    }
    let mixed = [(true, false), (false, true), (true, true)];
    assert_eq!(dimensions(sps(0, &mixed, 1, (64, 64), None)), Some((64, 64)));
}

#[test]
fn parameter_sets_in_band_replace_those_of_their_id() {
    let mut config = config(&hevc::MAIN);
    let before = config.clone();
    for set in before.vps.iter().chain(&before.sps).chain(&before.pps) {
        assert!(!config.learn(set), "it is known");
    }
    assert_eq!(config, before);

    let other = sps(0, &[], 1, (64, 64), None);
    assert!(config.learn(&other) && !config.learn(&other));
    assert_eq!(config.sps, [other]);
    let second = sps(15, &[], 1, (32, 32), None);
    assert!(config.learn(&second));
    assert_eq!(config.sps.len(), 2);
    assert_eq!(config.dimensions(), Some((64, 64)));
    assert!(config.learn(&[0x40, 1, 0x00, 9]) && config.vps == [&[0x40, 1, 0x00, 9][..]]);
    assert!(config.learn(&[0x40, 1, 0xF0, 9]) && config.vps.len() == 2);
    // pps_pic_parameter_set_id 0 and 1: ue(v) of 1 and 010.
    assert!(config.learn(&[0x44, 1, 0x80]) && config.pps == [&[0x44, 1, 0x80][..]]);
    assert!(config.learn(&[0x44, 1, 0x40]) && config.pps.len() == 2);
}

#[test]
fn what_is_no_parameter_set_or_has_no_valid_id_is_not_learned() {
    let mut config = Config::default();
    let mut long = sps(0, &[], 1, (64, 64), None);
    long.resize(MAX_LEARNED_BYTES + 1, 7);
    let mut pps_64 = Bits::default();
    let slice = hex(hevc::IDR);
    for nal in [
        &[][..],
        &[0x42],
        &[0x40, 1],
        &[0x42, 1, 1, 1],
        &[0x44, 1, 0],
        &pps_64.ue(64).nal([0x44, 1]),
        &sps(16, &[], 1, (64, 64), None),
        &slice[4..],
        &long,
    ] {
        assert!(!config.learn(nal), "{nal:?}");
    }
    assert_eq!(config, Config::default());
    assert!(config.learn(&long[..MAX_LEARNED_BYTES]));
}

#[test]
fn what_is_learned_is_bounded_by_the_ids() {
    let mut config = Config::default();
    for id in 0..100 {
        config.learn(&[0x40, 1, (id as u8) << 4, 1]);
        config.learn(&sps(id, &[], 1, (64, 64), None));
        config.learn(&Bits::default().ue(id).put(9, 0x1FF).nal([0x44, 1]));
    }
    assert_eq!((config.vps.len(), config.sps.len(), config.pps.len()), (MAX_VPS, MAX_SPS, MAX_PPS));
}

#[test]
fn the_types_of_random_access_pictures_are_16_to_23() {
    let irap: Vec<u8> = (0..64).filter(|kind| nal_type::IRAP.contains(kind)).collect();
    assert_eq!(irap, (16..=23).collect::<Vec<u8>>());
    let kinds = [hevc::IDR, hevc::TRAIL, hevc::CRA, hevc::RASL]
        .map(|unit| nal_type::of_nal(&hex(unit)[4..]));
    assert_eq!(kinds, [20, 1, 21, 8].map(Some));
    // The top bit is forbidden_zero_bit, the lowest the first of nuh_layer_id.
    assert_eq!((nal_type::of(0xFF), nal_type::of(0x81)), (63, 0));
    assert_eq!(nal_type::of_nal(&[0x48, 1]), None);
}

proptest! {
    #[test]
    fn sizes_come_back(
        sub_layers in proptest::collection::vec(any::<(bool, bool)>(), 0..=6),
        size in (500u32..100_000, 500u32..100_000),
        window in proptest::option::of([0u32..100, 0..100, 0..100, 0..100]),
        chroma_format in 0u32..4,
        id in 0u32..16,
    ) {
        let unit = [(1, 1), (2, 2), (2, 1), (1, 1)][chroma_format as usize];
        let [left, right, top, bottom] = window.unwrap_or_default();
        let expected =
            (size.0 - unit.0 * (left + right), size.1 - unit.1 * (top + bottom));
        let sps = sps(id, &sub_layers, chroma_format, size, window);
        prop_assert_eq!(parameter_set_id(&sps), Some(id));
        prop_assert_eq!(dimensions(sps), Some(expected));
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut record in proptest::collection::vec(any::<u8>(), 0..200),
        nal in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200),
        kind in 32u8..35,
    ) {
        let _ = DecoderConfigurationRecord::parse(&record.clone().into());
        if let Some(arrays) = record.get_mut(22) {
            *arrays &= 3;
        }
        if let Ok(record) = DecoderConfigurationRecord::parse(&record.into()) {
            let _ = (record.config.codec_string(), record.config.dimensions());
        }
        let set = [&[kind << 1, 1][..], &nal].concat();
        let mut config = Config { sps: vec![set.clone().into()], ..Config::default() };
        let _ = (config.codec_string(), config.dimensions(), config.learn(&set));
    }
}
