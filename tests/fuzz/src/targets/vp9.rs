//! VP9 as Enhanced RTMP carries it, and on to RTP. Input: packet size, length of the configuration record, the record, then a
//! frame.

use media::{
    codec::{
        Codec, VideoHeader,
        vp9::{Config, FrameHeader, Vp9Error},
    },
    rtp::{Packetizer, PacketizerConfig, inspect},
};

use super::depacketize;
use crate::input::Input;

const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 2;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let max_packet_size = 64 + 8 * usize::from(input.u8());
    let record_bytes = input.u8().into();
    let record = input.take(record_bytes);
    let frame = input.rest();

    let config = match Config::parse(record) {
        Ok(config) => {
            assert!(config.profile <= 3 && config.bit_depth < 16 && config.dimensions.is_none());
            assert!(config.codec_string().starts_with("vp09.0"));
            config
        }
        Err(error) => {
            assert!(error == Vp9Error::Record(record.len()) && record.len() < 3);
            Config::default()
        }
    };
    let mut video = VideoHeader::Vp9(config);
    let said = video.read(frame, true);
    let Ok(header) = FrameHeader::parse(frame) else {
        assert!(said.is_err() && video == VideoHeader::Vp9(config));
        return;
    };
    assert_eq!(said.map(|said| said.keyframe), Ok(header.keyframe));
    if header.keyframe {
        let expected = header.dimensions.or(config.dimensions);
        assert_eq!(video.config().dimensions(), expected);
    } else {
        assert!(header.dimensions.is_none() && video == VideoHeader::Vp9(config));
    }
    packetize(frame, &header, max_packet_size);
}

/// What is sent is the frame, by the letter of RFC 9628.
fn packetize(frame: &[u8], header: &FrameHeader, max_packet_size: usize) {
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 96,
        first_sequence_number: FIRST_SEQUENCE_NUMBER,
        max_packet_size,
    });
    let batch = packetizer.vp9(frame, header, 9);
    let payloads = depacketize::payloads(&batch, FIRST_SEQUENCE_NUMBER, max_packet_size);
    let mut sent = vec![];
    for (at, payload) in payloads.iter().enumerate() {
        let flags = payload[0];
        let (begins, ends) = (at == 0, at + 1 == payloads.len());
        assert_eq!(flags & 0b1011_0001, 0x80, "a picture id, no layers, not flexible");
        assert_eq!((flags & 8 != 0, flags & 4 != 0), (begins, ends));
        assert_eq!(flags & 0x40 == 0, header.keyframe);
        assert_eq!(payload[1..3], payloads[0][1..3]);
        let mut rest = &payload[3..];
        if flags & 2 != 0 {
            let (structure, behind) = rest.split_at(5);
            let size =
                |at: usize| u32::from(u16::from_be_bytes([structure[at], structure[at + 1]]));
            assert_eq!((structure[0], begins), (0x10, true));
            assert_eq!(header.dimensions, Some((size(1), size(3))));
            rest = behind;
        } else {
            let told = |(width, height)| width <= 0xFFFF && height <= 0xFFFF;
            assert!(!begins || !header.dimensions.is_some_and(told));
        }
        sent.extend_from_slice(rest);
        let info = inspect(Codec::Vp9, payload, |_| panic!("parameter sets"));
        assert_eq!(info.starts_keyframe, begins && header.keyframe);
        assert_eq!(info.continues, !begins);
    }
    assert_eq!(sent, frame);
}
