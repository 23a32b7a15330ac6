//! Values of `media` as messages of the API.

use media::codec::{Codec, CodecConfig, g711::Law};
use proto::v1;

/// A track, but for what its service alone knows.
pub fn track(config: &CodecConfig, payload_type: u8, ssrc: u32) -> v1::Track {
    let (width, height) = config.dimensions().unwrap_or_default();
    v1::Track {
        codec: codec(config).into(),
        payload_type: payload_type.into(),
        clock_rate: config.clock_rate().hz(),
        ssrc,
        codec_string: config.codec_string(),
        width,
        height,
        channels: config.channels().into(),
        ..Default::default()
    }
}

fn codec(config: &CodecConfig) -> v1::Codec {
    match (config.codec(), config) {
        (Codec::H264, _) => v1::Codec::H264,
        (Codec::H265, _) => v1::Codec::H265,
        (Codec::Av1, _) => v1::Codec::Av1,
        (Codec::Vp9, _) => v1::Codec::Vp9,
        (Codec::Aac, _) => v1::Codec::Aac,
        (Codec::Opus, _) => v1::Codec::Opus,
        (Codec::Mp3, _) => v1::Codec::Mp3,
        (Codec::G711, CodecConfig::G711(config)) if config.law == Law::Mu => v1::Codec::Pcmu,
        (Codec::G711, _) => v1::Codec::Pcma,
        (Codec::Ac3, _) => v1::Codec::Ac3,
    }
}
