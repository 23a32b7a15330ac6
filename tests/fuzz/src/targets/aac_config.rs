//! AudioSpecificConfig, and AAC frames on to RTP. Input: packet size, then a config, which also serves as a frame.

use bytes::Bytes;
use media::{
    codec::aac::{AacError, Config},
    rtp::{Packetizer, PacketizerConfig},
};

use super::depacketize;
use crate::input::Input;

/// The longest frame that 13 bits can say.
const MAX_FRAME_BYTES: usize = 8191;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let max_packet_size = 64 + 8 * usize::from(input.u8());
    let raw = input.rest();
    match Config::parse(Bytes::copy_from_slice(raw)) {
        Ok(config) => described(raw, &config),
        Err(AacError::Truncated(length)) => assert_eq!(length, raw.len()),
        Err(AacError::TooLong(length)) => assert!(length == raw.len() && length > 64),
        Err(AacError::SampleRate) => assert!(raw.len() >= 2),
    }
    packetize(raw, max_packet_size);
}

fn described(raw: &[u8], config: &Config) {
    assert_eq!(config.raw(), raw);
    assert!((1..1 << 24).contains(&config.sample_rate().hz()));
    assert!(config.channels() <= 24 && config.object_type() < 96);
    assert!([480, 512, 960, 1024].contains(&config.samples_per_frame()));
    assert_eq!(config.codec_string(), format!("mp4a.40.{}", config.object_type()));
    // What stands behind changes nothing.
    if raw.len() < 64 {
        let longer =
            Config::parse([raw, &[0xFF]].concat().into()).expect("it could be read before");
        let of =
            |c: &Config| (c.object_type(), c.sample_rate(), c.channels(), c.samples_per_frame());
        assert_eq!(of(&longer), of(config));
    }
}

fn packetize(frame: &[u8], max_packet_size: usize) {
    let first_sequence_number = u16::MAX;
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 97,
        first_sequence_number,
        max_packet_size,
    });
    let batch = packetizer.aac(frame, 9);
    if frame.is_empty() || frame.len() > MAX_FRAME_BYTES {
        assert!(batch.data.is_empty() && packetizer.sent() == (0, 0));
        return;
    }
    let payloads = depacketize::payloads(&batch, first_sequence_number, max_packet_size);
    assert_eq!(depacketize::aac_frame(&payloads), frame);
}
