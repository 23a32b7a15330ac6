//! H.264 as RTMP carries it, and on to RTP. Input: length size, packet size, length of the decoder configuration record, the
//! record, then an access unit.

use bytes::Bytes;
use media::{
    codec::h264::{Config, DecoderConfigurationRecord, H264Error, avcc_nal_units, nal_type},
    rtp::{Packetizer, PacketizerConfig},
};

use super::depacketize;
use crate::input::Input;

const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 2;

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
        Err(H264Error::Version(version)) => {
            assert!(version != 1 && version == record[0]);
            Config::default()
        }
        Err(H264Error::Truncated { at, needed }) => {
            assert!(at == record.len() && needed > 0);
            Config::default()
        }
    };
    let nals = iterate(access_unit, length_size);
    learn(&config, access_unit, length_size);
    packetize(access_unit, length_size, &config, nals, max_packet_size);
}

/// Writes a record anew and reads it.
fn again(record: &[u8], parsed: &DecoderConfigurationRecord) {
    let Config { sps, pps } = &parsed.config;
    assert!((1..=4).contains(&parsed.length_size) && sps.len() <= 31 && pps.len() <= 255);
    let all: usize = sps.iter().chain(pps).map(|set| 2 + set.len()).sum();
    assert!(7 + all <= record.len());
    let mut written = vec![1, 0, 0, 0, 0xFC | (parsed.length_size - 1), 0xE0 | sps.len() as u8];
    let put = |out: &mut Vec<u8>, set: &Bytes| {
        out.extend_from_slice(&(set.len() as u16).to_be_bytes());
        out.extend_from_slice(set);
    };
    sps.iter().for_each(|set| put(&mut written, set));
    written.push(pps.len() as u8);
    pps.iter().for_each(|set| put(&mut written, set));
    assert_eq!(DecoderConfigurationRecord::parse(&written.into()).as_ref(), Ok(parsed));
}

/// The NAL units of an access unit, `None` where it is broken.
fn iterate(access_unit: &[u8], length_size: u8) -> Option<Vec<Vec<u8>>> {
    let prefix = usize::from(length_size.clamp(1, 4));
    let mut nals = vec![];
    let mut taken = 0;
    let mut broken = false;
    for nal in avcc_nal_units(access_unit, length_size) {
        assert!(!broken, "nothing follows an error");
        match nal {
            Ok(nal) => {
                assert!(!nal.is_empty());
                taken += prefix + nal.len();
                nals.push(nal.to_vec());
            }
            Err(H264Error::Truncated { at, needed }) => {
                assert!(at == access_unit.len() && needed > 0);
                broken = true;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(taken <= access_unit.len());
    (!broken).then_some(nals)
}

/// Parameter sets are learned within their bounds, and once.
fn learn(config: &Config, access_unit: &[u8], length_size: u8) {
    let mut learned = Config::default();
    let sets = config.sps.iter().chain(&config.pps).map(|set| &set[..]);
    for nal in sets.chain(avcc_nal_units(access_unit, length_size).filter_map(Result::ok)) {
        let before = learned.clone();
        assert_eq!(learned.learn(nal), learned != before);
        assert!(!learned.learn(nal), "it is known now");
    }
    assert!(learned.sps.len() <= 32 && learned.pps.len() <= 256);
    for config in [config, &learned] {
        let described = config.profile_level_id().is_some();
        assert_eq!(config.codec_string().len(), if described { 11 } else { 0 });
        let _ = config.dimensions();
    }
}

/// What is sent are the NAL units of the access unit, with parameter sets before an IDR.
fn packetize(
    access_unit: &[u8],
    length_size: u8,
    config: &Config,
    nals: Option<Vec<Vec<u8>>>,
    max_packet_size: usize,
) {
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 96,
        first_sequence_number: FIRST_SEQUENCE_NUMBER,
        max_packet_size,
    });
    let batch = packetizer.h264(access_unit, length_size, config, 9);
    let Some(nals) = nals else {
        assert!(batch.is_err() && packetizer.sent() == (0, 0));
        assert_eq!(packetizer.next_sequence_number(), FIRST_SEQUENCE_NUMBER);
        return;
    };
    let batch = batch.expect("an access unit that can be read can be sent");
    let payloads = depacketize::payloads(&batch, FIRST_SEQUENCE_NUMBER, max_packet_size);
    assert_eq!(depacketize::nal_units(&payloads), with_parameter_sets(nals, config));
    let octets: usize = payloads.iter().map(Vec::len).sum();
    assert_eq!(packetizer.sent(), (payloads.len() as u32, octets as u32));
}

fn with_parameter_sets(nals: Vec<Vec<u8>>, config: &Config) -> Vec<Vec<u8>> {
    let has = |of_type| nals.iter().any(|nal| nal_type::of(nal[0]) == of_type);
    let idr = has(nal_type::IDR);
    let sps = config.sps.iter().filter(|_| idr && !has(nal_type::SPS));
    let pps = config.pps.iter().filter(|_| idr && !has(nal_type::PPS));
    let sets: Vec<_> = sps.chain(pps).map(|set| set.to_vec()).collect();
    let first = nals.iter().position(|nal| nal_type::of(nal[0]) != nal_type::AUD);
    let mut nals = nals;
    nals.splice(first.unwrap_or(0)..first.unwrap_or(0), sets);
    nals
}
