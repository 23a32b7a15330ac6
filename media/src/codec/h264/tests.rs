use proptest::prelude::*;

use super::*;

/// From `ffmpeg -f lavfi -i testsrc2=s=1280x720 -c:v libx264 -profile:v main` (x264 core 164).
const SPS_720P_MAIN: &[u8] = &[
    0x67, 0x4D, 0x40, 0x1F, 0xEC, 0xA0, 0x28, 0x02, 0xDD, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0xE0, 0x78, 0xC1, 0x8C, 0xB0,
];
const PPS: &[u8] = &[0x68, 0xEF, 0xBC, 0xB2];

fn record(length_size: u8, sps: &[&[u8]], pps: &[&[u8]]) -> Bytes {
    let mut record = vec![1, 0x4D, 0x40, 0x1F, 0xFC | (length_size - 1), 0xE0 | sps.len() as u8];
    let put = |sets: &[&[u8]], record: &mut Vec<u8>| {
        for set in sets {
            record.extend((set.len() as u16).to_be_bytes());
            record.extend(*set);
        }
    };
    put(sps, &mut record);
    record.push(pps.len() as u8);
    put(pps, &mut record);
    record.into()
}

fn config() -> Config {
    DecoderConfigurationRecord::parse(&record(4, &[SPS_720P_MAIN], &[PPS])).unwrap().config
}

#[test]
fn a_record_is_read_without_copies() {
    let bytes = record(2, &[SPS_720P_MAIN], &[PPS, PPS]);
    let parsed = DecoderConfigurationRecord::parse(&bytes).unwrap();
    assert_eq!(parsed.length_size, 2);
    assert_eq!(parsed.config.sps, [SPS_720P_MAIN]);
    assert_eq!(parsed.config.pps, [PPS, PPS]);
    assert!(bytes.as_ptr_range().contains(&parsed.config.sps[0].as_ptr()));
}

#[test]
fn the_fields_behind_the_parameter_sets_are_passed_over() {
    let mut bytes = record(4, &[SPS_720P_MAIN], &[PPS]).to_vec();
    bytes.extend([0xFD, 0xF8, 0xF8, 0x00]);
    assert_eq!(DecoderConfigurationRecord::parse(&bytes.into()).unwrap().config, config());
}

#[test]
fn every_truncated_record_is_refused() {
    let bytes = record(4, &[SPS_720P_MAIN], &[PPS]);
    for end in 0..bytes.len() {
        let refused = DecoderConfigurationRecord::parse(&bytes.slice(..end));
        assert!(
            matches!(refused, Err(H264Error::Truncated { at, needed }) if at == end && needed > 0),
            "{end}: {refused:?}"
        );
    }
}

#[test]
fn a_record_of_another_version_is_refused() {
    assert_eq!(
        DecoderConfigurationRecord::parse(&Bytes::from_static(&[0, 0, 0, 1])),
        Err(H264Error::Version(0))
    );
}

#[test]
fn nal_units_of_other_types_do_not_become_parameter_sets() {
    let parsed = DecoderConfigurationRecord::parse(&record(
        4,
        &[&[0x6F, 1], &[], SPS_720P_MAIN],
        &[&[0x67]],
    ))
    .unwrap();
    assert_eq!(parsed.config, Config { sps: vec![SPS_720P_MAIN.into()], pps: vec![] });
    assert!(!parsed.config.is_complete());
}

#[test]
fn the_first_sps_tells_profile_level_and_size() {
    assert_eq!(config().profile_level_id(), Some([0x4D, 0x40, 0x1F]));
    assert_eq!(config().codec_string(), "avc1.4D401F");
    assert_eq!(config().dimensions(), Some((1280, 720)));
    assert_eq!(Config::default().codec_string(), "");
    let short = Config { sps: vec![Bytes::from_static(&[0x67, 0x4D])], pps: vec![] };
    assert_eq!((short.profile_level_id(), short.dimensions()), (None, None));
}

#[test]
fn a_parameter_set_in_band_replaces_the_one_of_its_id_or_is_added() {
    let mut config = config();
    assert!(!config.learn(SPS_720P_MAIN) && !config.learn(PPS));
    assert!(config.learn(&[0x68, 0xEE]), "id 0 again, otherwise");
    assert_eq!(config.pps, [&[0x68, 0xEE][..]]);
    assert!(config.learn(&[0x68, 0x5E]), "id 1");
    assert_eq!(config.pps, [&[0x68, 0xEE][..], &[0x68, 0x5E]]);
    assert!(config.learn(&[0x67, 0x42, 0x00, 0x1F, 0x40, 1]), "SPS id 1");
    assert_eq!(config.sps.len(), 2);
    for no_parameter_set in [&[][..], &[0x65, 0x88], &[0x67], &[0x67, 1, 2, 3], &[0x68]] {
        assert!(!config.learn(no_parameter_set), "{no_parameter_set:?}");
    }
}

#[test]
fn ids_behind_escaped_bytes_are_found() {
    // profile 0, flags 0, then 03 escapes level 1; id 0.
    assert_eq!(parameter_set_id(&[0x67, 0, 0, 3, 1, 0x80]), Some(0));
}

#[test]
fn what_is_learned_is_bounded() {
    let mut config = Config::default();
    for id in 0..400u32 {
        // 8 leading zeros, the 9 bits of id + 1, a stop bit.
        let bits = ((id + 1) << 7 | 1 << 6) << 8;
        let bits = if id + 1 >= 256 { bits } else { bits | 1 << 23 };
        let [_, a, b, c] = bits.to_be_bytes();
        config.learn(&[0x68, 0, a, b, c]);
        config.learn(&[0x67, 0x42, 0, 0x1F, 0, a, b, c]);
    }
    assert!(config.pps.len() <= MAX_PPS && config.sps.len() <= MAX_SPS);
    let mut long = PPS.to_vec();
    long.resize(MAX_LEARNED_BYTES + 1, 0xFF);
    assert!(!Config::default().learn(&long));
}

#[test]
fn a_length_size_of_nothing_ends() {
    assert_eq!(avcc_nal_units(&[0, 0, 1, 9], 0).count(), 1);
}

fn avcc(nals: &[Vec<u8>], length_size: u8) -> Vec<u8> {
    let mut out = vec![];
    for nal in nals {
        let length = (nal.len() as u32).to_be_bytes();
        out.extend(&length[4 - usize::from(length_size)..]);
        out.extend(nal);
    }
    out
}

proptest! {
    #[test]
    fn nal_units_come_back_as_they_were_put(
        nals in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        length_size in 1u8..=4,
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = avcc(&nals, length_size);
        let got: Result<Vec<_>, _> = avcc_nal_units(&bytes, length_size).collect();
        let full: Vec<_> = nals.iter().filter(|nal| !nal.is_empty()).map(Vec::as_slice).collect();
        prop_assert_eq!(got.unwrap(), full);
        // A cut gives whole NAL units only, then at most one error.
        let cut = cut.index(bytes.len() + 1);
        let errors = avcc_nal_units(&bytes[..cut], length_size).filter(Result::is_err).count();
        prop_assert!(errors <= 1);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = DecoderConfigurationRecord::parse(&Bytes::copy_from_slice(&bytes));
        let mut with_head = vec![0x67];
        with_head.extend(&bytes);
        let mut config = Config::default();
        config.learn(&with_head);
        config.learn(&bytes);
        let config = Config { sps: vec![with_head.into()], pps: vec![] };
        let _ = (config.dimensions(), config.codec_string());
    }
}
