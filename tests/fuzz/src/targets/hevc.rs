//! H.265 as RTMP carries it, and on to RTP. Input: length size, packet size, length of the decoder configuration record, the
//! record, then an access unit.

use bytes::Bytes;
use media::{
    codec::{
        Codec,
        h264::avcc_nal_units,
        h265::{Config, DecoderConfigurationRecord, H265Error},
    },
    rtp::{Packetizer, PacketizerConfig, inspect},
};

use super::depacketize;
use crate::input::Input;

const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 2;
/// H.265, table 7-1.
const IRAP: std::ops::RangeInclusive<u8> = 16..=23;
const SETS: std::ops::RangeInclusive<u8> = 32..=34;
const AUD: u8 = 35;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let length_size = input.u8();
    let max_packet_size = 64 + 8 * usize::from(input.u8());
    let record_bytes = input.u16().into();
    let record = Bytes::copy_from_slice(input.take(record_bytes));
    let access_unit = input.rest();

    let config = match DecoderConfigurationRecord::parse(&record) {
        Ok(parsed) => {
            again(&record, &parsed);
            parsed.config
        }
        Err(H265Error::Truncated(length)) => {
            assert_eq!(length, record.len());
            Config::default()
        }
    };
    learn(&config, access_unit, length_size);
    packetize(access_unit, length_size, &config, max_packet_size);
}

fn kind(nal: &[u8]) -> u8 {
    nal[0] >> 1 & 63
}

/// The parameter sets, in the order of their kinds.
fn sets(config: &Config) -> impl Iterator<Item = &Bytes> {
    config.vps.iter().chain(&config.sps).chain(&config.pps)
}

/// Writes a record anew and reads it.
fn again(record: &Bytes, parsed: &DecoderConfigurationRecord) {
    assert_eq!(parsed.length_size, record[21] % 4 + 1);
    let mut written = [&record[..22], &[0]].concat();
    for set in sets(&parsed.config) {
        assert!(set.len() > 2 && SETS.contains(&kind(set)));
        written[22] = written[22].saturating_add(1);
        written.extend([kind(set), 0, 1]);
        written.extend((set.len() as u16).to_be_bytes());
        written.extend_from_slice(set);
    }
    // An array each, of which there are 255.
    if sets(&parsed.config).count() <= 255 {
        assert_eq!(DecoderConfigurationRecord::parse(&written.into()).as_ref(), Ok(parsed));
    }
}

/// Parameter sets are learned within their bounds, and once.
fn learn(config: &Config, access_unit: &[u8], length_size: u8) {
    let mut learned = Config::default();
    let known = sets(config).map(|set| &set[..]);
    for nal in known.chain(avcc_nal_units(access_unit, length_size).filter_map(Result::ok)) {
        let before = learned.clone();
        assert_eq!(learned.learn(nal), learned != before);
        assert!(!learned.learn(nal), "it is known now");
    }
    assert!(learned.vps.len() <= 16 && learned.sps.len() <= 16 && learned.pps.len() <= 64);
    assert!(sets(&learned).all(|set| set.len() <= 8192));
    for config in [config, &learned] {
        let described = config.profile_tier_level().is_some();
        assert_eq!(config.codec_string().starts_with("hvc1."), described);
        assert!(described || config.dimensions().is_none());
    }
}

/// What is sent are the NAL units of the access unit, with the parameter sets that are missing before a random access picture.
fn packetize(access_unit: &[u8], length_size: u8, config: &Config, max_packet_size: usize) {
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 96,
        first_sequence_number: FIRST_SEQUENCE_NUMBER,
        max_packet_size,
    });
    let batch = packetizer.h265(access_unit, length_size, config, 9);
    let nals: Result<Vec<&[u8]>, _> = avcc_nal_units(access_unit, length_size).collect();
    let Ok(nals) = nals else {
        assert!(batch.is_err() && packetizer.sent() == (0, 0));
        assert_eq!(packetizer.next_sequence_number(), FIRST_SEQUENCE_NUMBER);
        return;
    };
    let batch = batch.expect("an access unit that can be read can be sent");
    let payloads = depacketize::payloads(&batch, FIRST_SEQUENCE_NUMBER, max_packet_size);
    let sent = nal_units(&payloads);
    assert_eq!(sent, with_parameter_sets(&nals, config));

    let mut keyframe = false;
    for (at, payload) in payloads.iter().enumerate() {
        let info = inspect(Codec::H265, payload, |set| {
            assert!(sent.iter().any(|nal| nal == set) && SETS.contains(&kind(set)));
        });
        keyframe |= info.starts_keyframe;
        assert!(!(info.continues && at == 0));
    }
    let of_irap = |nal: &Vec<u8>| nal.len() > 2 && IRAP.contains(&kind(nal));
    assert_eq!(keyframe, sent.iter().any(of_irap));
}

fn with_parameter_sets(nals: &[&[u8]], config: &Config) -> Vec<Vec<u8>> {
    let has = |wanted: u8| nals.iter().any(|nal| nal.len() > 2 && kind(nal) == wanted);
    let irap = IRAP.into_iter().any(has);
    let missing = sets(config).filter(|set| irap && !has(kind(set))).map(|set| set.to_vec());
    let mut all: Vec<_> = nals.iter().filter(|nal| nal.len() > 1).map(|nal| nal.to_vec()).collect();
    if let Some(at) = all.iter().position(|nal| kind(nal) != AUD) {
        all.splice(at..at, missing);
    }
    all
}

/// The NAL units of an access unit's payloads (RFC 7798, without DONL).
fn nal_units(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = vec![];
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        assert!(open.is_none() || kind(payload) == 49, "fragments follow each other");
        match kind(payload) {
            48 => {
                let mut rest = &payload[2..];
                while let Some((length, behind)) = rest.split_first_chunk() {
                    let (nal, behind) = behind.split_at(u16::from_be_bytes(*length).into());
                    nals.push(nal.to_vec());
                    rest = behind;
                }
                assert!(rest.is_empty());
            }
            49 => {
                let (start, end) = (payload[2] & 0x80 != 0, payload[2] & 0x40 != 0);
                assert!(!(start && end), "a fragmented unit has two fragments at least");
                assert_eq!(start, open.is_none());
                let header = [payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]];
                let nal = open.get_or_insert_with(|| header.to_vec());
                nal.extend_from_slice(&payload[3..]);
                if end {
                    nals.extend(open.take());
                }
            }
            50.. => panic!("a type that RFC 7798 reserves"),
            _ => nals.push(payload.clone()),
        }
    }
    assert!(open.is_none(), "the last fragment is marked");
    nals
}
