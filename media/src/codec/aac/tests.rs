use proptest::prelude::*;

use super::*;

fn parse(raw: &[u8]) -> Result<(u8, u32, u8, u16), AacError> {
    let c = Config::parse(Bytes::copy_from_slice(raw))?;
    Ok((c.object_type, c.sample_rate.hz(), c.channels, c.samples_per_frame))
}

#[test]
fn configs_that_encoders_write_are_read() {
    // 1190 and 1210 from ffmpeg; 139056E5A0 (AAC-LC with explicit backward compatible SBR) and 2B8A0800 (HE-AAC,
    // hierarchical) from fdk-aac; 1194 has frameLengthFlag.
    for (raw, is) in [
        (&[0x11, 0x90][..], (2, 48_000, 2, 1024)),
        (&[0x12, 0x10], (2, 44_100, 2, 1024)),
        (&[0x11, 0x94], (2, 48_000, 2, 960)),
        (&[0x13, 0x90, 0x56, 0xE5, 0xA0], (2, 22_050, 2, 1024)),
        (&[0x2B, 0x8A, 0x08, 0x00], (2, 22_050, 1, 1024)),
        (&[0x11, 0xB0], (2, 48_000, 6, 1024)),
        (&[0x11, 0xB8], (2, 48_000, 8, 1024)),
        (&[0x11, 0x80], (2, 48_000, 0, 1024)),
        (&[0x17, 0x80, 0x5D, 0xC0, 0x10], (2, 47_999 + 1, 2, 1024)),
    ] {
        assert_eq!(parse(raw), Ok(is), "{raw:02X?}");
    }
    let config = Config::parse(Bytes::from_static(&[0x11, 0x90])).unwrap();
    assert_eq!(config.codec_string(), "mp4a.40.2");
    assert_eq!(config.raw().as_ref(), [0x11, 0x90]);
}

#[test]
fn what_cannot_be_read_is_refused_with_the_reason() {
    assert_eq!(parse(&[]), Err(AacError::Truncated(0)));
    assert_eq!(parse(&[0x11]), Err(AacError::Truncated(1)));
    assert_eq!(parse(&[0x16, 0x90]), Err(AacError::SampleRate));
    assert_eq!(parse(&[0x17, 0x80, 0x00, 0x00, 0x10]), Err(AacError::SampleRate));
    assert_eq!(parse(&[0x11; 65]), Err(AacError::TooLong(65)));
}

/// Writes bits, most significant first, and fills up the last byte with zeros.
#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn put(mut self, value: u32, count: u32) -> Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn object_type(self, object_type: u32) -> Self {
        match object_type {
            0..=30 => self.put(object_type, 5),
            _ => self.put(31, 5).put(object_type - 32, 6),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

#[test]
fn every_sampling_frequency_index_has_its_rate() {
    let rates = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    for (index, rate) in rates.into_iter().enumerate() {
        let raw = Writer::default().put(2, 5).put(index as u32, 4).put(2, 4).put(0, 3).bytes();
        assert_eq!(parse(&raw), Ok((2, rate, 2, 1024)));
    }
    for reserved in [13, 14] {
        let raw = Writer::default().put(2, 5).put(reserved, 4).put(2, 4).put(0, 3).bytes();
        assert_eq!(parse(&raw), Err(AacError::SampleRate));
    }
}

#[test]
fn a_rate_outside_the_table_stands_in_24_bits() {
    for rate in [1, 37_800, 48_000, 0xFF_FFFF] {
        let raw = Writer::default().put(2, 5).put(15, 4).put(rate, 24).put(1, 4).put(0, 3).bytes();
        assert_eq!(parse(&raw), Ok((2, rate, 1, 1024)));
    }
}

#[test]
fn every_channel_configuration_has_its_channels() {
    // ISO/IEC 14496-3:2019, table 1.19; 8 to 10 and 15 are reserved, 0 leaves it to a PCE.
    let channels = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0];
    for (configuration, channels) in channels.into_iter().enumerate() {
        let raw = Writer::default().put(2, 5).put(3, 4).put(configuration as u32, 4).put(0, 3);
        assert_eq!(parse(&raw.bytes()), Ok((2, 48_000, channels, 1024)));
    }
}

#[test]
fn a_program_config_element_is_kept_and_its_channels_are_not_counted() {
    // From ffmpeg 5.1, `-af aformat=channel_layouts=7.1(wide) -c:a aac`, whose PCE has a comment.
    let raw = [
        0x11, 0x80, 0x04, 0xC8, 0x48, 0x00, 0x20, 0x00, 0xC6, 0x40, 0x0D, 0x4C, 0x61, 0x76, 0x63,
        0x35, 0x39, 0x2E, 0x33, 0x37, 0x2E, 0x31, 0x30, 0x30, 0x56, 0xE5, 0x00,
    ];
    assert_eq!(parse(&raw), Ok((2, 48_000, 0, 1024)));
    assert_eq!(Config::parse(Bytes::copy_from_slice(&raw)).unwrap().raw(), &raw[..]);
}

#[test]
fn sbr_in_each_signalling_leaves_the_core_as_it_is() {
    let core = || Writer::default().put(2, 5).put(7, 4).put(2, 4);
    // Implicit: nothing says so.
    let implicit = core().put(0, 3);
    // Backward compatible: a sync extension behind the GASpecificConfig; with PS behind that.
    let sbr = core().put(0, 3).put(0x2B7, 11).put(5, 5).put(1, 1).put(4, 4);
    let ps = core().put(0, 3).put(0x2B7, 11).put(5, 5).put(1, 1).put(4, 4).put(0x548, 11).put(1, 1);
    // Hierarchical: SBR (5) or PS (29) first, with the extension's rate, then the core's type.
    let hierarchical = |object_type| {
        let extension = Writer::default().put(object_type, 5).put(7, 4).put(2, 4).put(4, 4);
        extension.put(2, 5).put(0, 3)
    };
    // The extension's rate may be outside the table, too.
    let escaped = Writer::default().put(5, 5).put(7, 4).put(2, 4).put(15, 4).put(44_100, 24);
    for config in
        [implicit, sbr, ps, hierarchical(5), hierarchical(29), escaped.put(2, 5).put(0, 3)]
    {
        let raw = config.bytes();
        assert_eq!(parse(&raw), Ok((2, 22_050, 2, 1024)), "{raw:02X?}");
    }
    let refused = Writer::default().put(5, 5).put(7, 4).put(2, 4).put(13, 4).put(2, 5).put(0, 3);
    assert_eq!(parse(&refused.bytes()), Err(AacError::SampleRate));
}

#[test]
fn frames_of_960_samples_are_told_by_their_flag() {
    for object_type in [1, 2, 3, 4, 6, 17, 19, 20] {
        for (flag, samples) in [(0, 1024), (1, 960)] {
            let raw = Writer::default().object_type(object_type).put(3, 4).put(2, 4).put(flag, 1);
            let expected = Ok((object_type as u8, 48_000, 2, samples));
            assert_eq!(parse(&raw.put(0, 2).bytes()), expected);
        }
    }
    // Behind an extension, the flag is that of the core.
    let raw = Writer::default().put(5, 5).put(6, 4).put(2, 4).put(3, 4).put(2, 5).put(1, 1);
    assert_eq!(parse(&raw.bytes()), Ok((2, 24_000, 2, 960)));
}

#[test]
fn frames_of_low_delay_aac_have_half_as_many_samples() {
    // AAC LD (23) in its GASpecificConfig, AAC ELD (39) in its ELDSpecificConfig.
    for object_type in [23, 39] {
        for (flag, samples) in [(0, 512), (1, 480)] {
            let raw = Writer::default().object_type(object_type).put(3, 4).put(1, 4).put(flag, 1);
            let expected = Ok((object_type as u8, 48_000, 1, samples));
            assert_eq!(parse(&raw.put(0, 3).bytes()), expected);
        }
    }
}

#[test]
fn object_types_beyond_30_stand_in_11_bits() {
    for object_type in [32, 36, 42, 95] {
        let raw = Writer::default().object_type(object_type).put(3, 4).put(2, 4).put(0, 3).bytes();
        assert_eq!(parse(&raw), Ok((object_type as u8, 48_000, 2, 1024)));
        let config = Config::parse(raw.into()).unwrap();
        assert_eq!(config.codec_string(), format!("mp4a.40.{object_type}"));
    }
}

#[test]
fn every_truncation_is_refused_up_to_the_last_field_that_is_read() {
    // Bits that are read: 5 + 4 + 4 + 1; hierarchical 5 + 4 + 4 + 4 + 5 + 1; escaped 5 + 4 + 24 + 4 + 1.
    for (raw, needed) in [
        (&[0x11, 0x90][..], 2),
        (&[0x2B, 0x8A, 0x08, 0x00], 3),
        (&[0x17, 0x80, 0x5D, 0xC0, 0x10], 5),
    ] {
        for end in 0..raw.len() {
            let expected = if end < needed { Err(AacError::Truncated(end)) } else { parse(raw) };
            assert_eq!(parse(&raw[..end]), expected, "{raw:02X?} cut at {end}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..70)) {
        let _ = parse(&raw);
    }
}
