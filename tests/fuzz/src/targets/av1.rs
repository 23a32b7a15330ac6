//! AV1 as Enhanced RTMP carries it, and on to RTP. Input: whether the tag says keyframe, packet size, length of the configuration
//! record, the record, then a temporal unit.

use bytes::Bytes;
use media::{
    codec::{
        Codec, CodecError, VideoHeader,
        av1::{Av1Error, Config, obus},
    },
    flv::VideoCodec,
    rtp::{Packetizer, PacketizerConfig, inspect},
};

use super::depacketize;
use crate::input::Input;

const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 2;
/// obu_type (AV1, 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
/// Temporal delimiter, tile list, padding.
const LEFT_OUT: [u8; 3] = [2, 8, 15];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let keyframe = input.u8() & 1 == 1;
    let max_packet_size = 64 + 8 * usize::from(input.u8());
    let record_bytes = input.u8().into();
    let record = Bytes::copy_from_slice(input.take(record_bytes));
    let unit = input.rest();

    let config = match Config::parse(&record) {
        Ok(config) => {
            described(&record, &config);
            config
        }
        Err(error) => {
            assert!(error == Av1Error::Record && (record.len() < 4 || record[0] != 0x81));
            Config::default()
        }
    };
    read(&config, unit, keyframe);
    packetize(unit, keyframe, &config, max_packet_size);
}

fn described(record: &[u8], config: &Config) {
    assert!(config.profile < 8 && config.level_idx < 32 && config.tier < 2);
    assert!([8, 10, 12].contains(&config.bit_depth));
    assert_eq!(config.codec_string().len(), "av01.P.LLT.DD".len());
    if config.sequence_header.is_empty() {
        assert_eq!((config.profile, config.level_idx), (record[1] >> 5, record[1] & 31));
        assert_eq!(config.dimensions(), None);
    }
    assert!(config.sequence_header.len() < record.len());
    let within = |size: u32| (1..=65_536).contains(&size);
    assert!(config.dimensions().is_none_or(|(width, height)| within(width) && within(height)));
}

/// What is learned is learned once, and nothing of what is broken.
fn read(config: &Config, unit: &[u8], keyframe: bool) {
    let mut header = VideoHeader::Av1(config.clone());
    match header.read(unit, keyframe) {
        Ok(frame) => {
            assert_eq!(frame.keyframe, keyframe);
            let learned = header.clone();
            assert!(frame.learned || learned == VideoHeader::Av1(config.clone()));
            let again = header.read(unit, keyframe).expect("it could be read");
            assert!(again.keyframe == keyframe && header == learned);
        }
        Err(CodecError::Av1(_)) => assert_eq!(header, VideoHeader::Av1(config.clone())),
        Err(other) => panic!("{other}"),
    }
    assert_eq!(header.codec(), VideoCodec::Av1);
}

/// What is sent are the OBUs of the temporal unit, with the sequence header before a keyframe that has none.
fn packetize(unit: &[u8], keyframe: bool, config: &Config, max_packet_size: usize) {
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 96,
        first_sequence_number: FIRST_SEQUENCE_NUMBER,
        max_packet_size,
    });
    let batch = packetizer.av1(unit, keyframe, config, 9);
    let all: Result<Vec<_>, _> = obus(unit).collect();
    let Ok(all) = all else {
        assert!(batch.is_err() && packetizer.sent() == (0, 0));
        return;
    };
    let kept = all.iter().filter(|obu| !LEFT_OUT.contains(&obu.obu_type));
    let mut expected: Vec<_> = kept.map(|obu| obu.without_size()).collect();
    let has_header = all.iter().any(|obu| obu.obu_type == SEQUENCE_HEADER);
    if keyframe && !has_header && !config.sequence_header.is_empty() {
        expected.insert(0, config.sequence_header.to_vec());
    }
    let batch = batch.expect("a temporal unit that can be read can be sent");
    let payloads = depacketize::payloads(&batch, FIRST_SEQUENCE_NUMBER, max_packet_size);
    assert_eq!(obus_of(&payloads), expected);
    for (at, payload) in payloads.iter().enumerate() {
        let info = inspect(Codec::Av1, payload, |_| panic!("parameter sets"));
        assert_eq!(info.starts_keyframe, keyframe && at == 0);
        assert!(!(info.continues && at == 0));
    }
}

/// The OBUs of a temporal unit's payloads (AV1 RTP specification, 4.4 and 4.5), every element with its length.
fn obus_of(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut obus: Vec<Vec<u8>> = vec![];
    let mut open = false;
    for payload in payloads {
        assert_eq!(payload[0] & 0b0011_0111, 0, "W = 0, and nothing in the reserved bits");
        assert_eq!(payload[0] & 0x80 != 0, open, "Z goes on with what Y announced");
        let mut layer = None;
        let mut rest = &payload[1..];
        while !rest.is_empty() {
            let (mut length, mut shift) = (0, 0);
            while let Some((&byte, behind)) = rest.split_first() {
                length |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                rest = behind;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let (element, behind) = rest.split_at(length);
            assert!(!element.is_empty());
            rest = behind;
            match obus.last_mut().filter(|_| std::mem::take(&mut open)) {
                Some(obu) => obu.extend_from_slice(element),
                None => obus.push(element.to_vec()),
            }
            if let Some([first, extension, ..]) = obus.last().map(|obu| &obu[..])
                && first & 4 != 0
            {
                assert_eq!(
                    *layer.get_or_insert(extension >> 3),
                    extension >> 3,
                    "layers in one packet"
                );
            }
        }
        open = payload[0] & 0x40 != 0;
    }
    assert!(!open, "the last packet announces nothing");
    obus
}
