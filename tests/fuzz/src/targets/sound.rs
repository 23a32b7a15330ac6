//! Opus, G.711, MPEG audio and AC-3, and on to RTP. Input: the codec, packet size, then a header or frames.

use bytes::Bytes;
use media::{
    codec::{AudioHeader, Codec, CodecError, g711, mp3, opus},
    flv::AudioCodec,
    rtp::{PacketBatch, Packetizer, PacketizerConfig, inspect},
};

use super::depacketize;
use crate::input::Input;

const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 2;

const CODECS: [AudioCodec; 6] = [
    AudioCodec::Opus,
    AudioCodec::Mp3,
    AudioCodec::Ac3,
    AudioCodec::Pcma(1),
    AudioCodec::Pcmu(2),
    AudioCodec::Aac,
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let codec = CODECS[usize::from(input.u8()) % CODECS.len()];
    let max_packet_size = 64 + 8 * usize::from(input.u8());
    let bytes = input.rest();
    if codec == AudioCodec::Opus {
        opus_header(bytes);
    }
    let Ok(Some(header)) = AudioHeader::of_frame(codec, bytes) else { return };
    let config = header.config();
    assert!(header.is_for(codec) && (1..=6).contains(&config.channels()));
    assert!((8_000..=48_000).contains(&config.sample_rate()));
    samples(&header, bytes);

    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 7,
        payload_type: 97,
        first_sequence_number: FIRST_SEQUENCE_NUMBER,
        max_packet_size,
    });
    match packetizer.audio(&header, bytes, 9) {
        Ok(batch) => sent(config.codec(), bytes, &batch, max_packet_size),
        Err(error) => {
            assert_eq!(error, CodecError::FrameSize(bytes.len()));
            assert_eq!(packetizer.sent(), (0, 0));
            let whole = matches!(config.codec(), Codec::Opus | Codec::G711);
            assert!(
                bytes.is_empty() || bytes.len() > if whole { max_packet_size - 12 } else { 10_000 }
            );
        }
    }
}

fn opus_header(bytes: &[u8]) {
    let parsed = AudioHeader::parse(AudioCodec::Opus, &Bytes::copy_from_slice(bytes));
    match parsed {
        Ok(header) => {
            let channels = header.map(|header| header.config().channels());
            assert!(bytes.starts_with(b"OpusHead") && channels == Some(bytes[9]));
        }
        Err(CodecError::Opus(opus::OpusError::Channels(channels))) => {
            assert!(bytes[9] == channels && !(1..=2).contains(&channels));
        }
        Err(error) => assert_eq!(error, opus::OpusError::Header.into()),
    }
}

/// A frame lasts some time, and not too long.
fn samples(header: &AudioHeader, bytes: &[u8]) {
    let Ok(samples) = header.samples(bytes) else {
        assert!(bytes.is_empty() || matches!(header, AudioHeader::Opus(_)));
        return;
    };
    match header {
        // 2.5 to 120 ms.
        AudioHeader::Opus(_) => assert!(samples % 120 == 0 && (120..=5760).contains(&samples)),
        AudioHeader::Mp3(config) => assert!(samples >= config.samples_per_frame),
        AudioHeader::Ac3(_) => assert_eq!(samples, 1536),
        AudioHeader::G711(g711::Config { channels, .. }) => {
            assert_eq!(samples as usize, bytes.len() / usize::from(*channels));
        }
        AudioHeader::Aac(_) => panic!("AAC is told by its header"),
    }
}

/// What is sent is what came.
fn sent(codec: Codec, bytes: &[u8], batch: &PacketBatch, max_packet_size: usize) {
    let payloads = match codec {
        Codec::Ac3 => depacketize::payloads(batch, FIRST_SEQUENCE_NUMBER, max_packet_size),
        _ => depacketize::payloads_of_sound(batch, FIRST_SEQUENCE_NUMBER, max_packet_size),
    };
    let taken = match codec {
        Codec::Mp3 => mpeg_audio(&payloads),
        Codec::Ac3 => ac3(&payloads),
        _ => payloads.concat(),
    };
    assert_eq!(taken, bytes);
    for (at, payload) in payloads.iter().enumerate() {
        let info = inspect(codec, payload, |_| panic!("parameter sets"));
        assert!(!info.starts_keyframe && !(info.continues && (at == 0 || info.ends_unit)));
    }
}

/// RFC 2250, 3.5: whole frames, or fragments with their offsets.
fn mpeg_audio(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![];
    let mut begun = 0;
    for payload in payloads {
        assert_eq!(payload[..2], [0, 0]);
        let offset = usize::from(u16::from_be_bytes([payload[2], payload[3]]));
        if offset == 0 {
            begun = all.len();
            // What goes before ends a frame, so one begins here, or there is none.
            assert!(
                begun == 0 || payload[4] == 0xFF || mp3::Config::of_frame(&payload[4..]).is_err()
            );
        }
        assert_eq!(all.len() - begun, offset);
        all.extend_from_slice(&payload[4..]);
    }
    all
}

/// RFC 4184, 4.1.1.
fn ac3(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = vec![];
    for (at, payload) in payloads.iter().enumerate() {
        assert_eq!(usize::from(payload[1]), payloads.len());
        match payload[0] {
            0 => assert_eq!(payloads.len(), 1),
            1 | 2 => assert!(at == 0 && payloads.len() > 1),
            3 => assert!(at > 0),
            other => panic!("frame type {other}"),
        }
        frame.extend_from_slice(&payload[2..]);
    }
    frame
}
