//! Bodies of audio and video tags. Input: one body, read as either.

use bytes::Bytes;
use media::flv::{AudioTag, FlvError, UnsupportedCodec, VideoTag};

pub(crate) fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    video(&body);
    audio(&body);
}

fn video(body: &Bytes) {
    match VideoTag::parse(body) {
        Ok(VideoTag::AvcSequenceHeader(record)) => assert_eq!(record, body[5..]),
        Ok(tag @ VideoTag::AvcNalUnits { .. }) => nal_units(body, &tag),
        Ok(VideoTag::AvcEndOfSequence) => assert_eq!(body[..2], [body[0], 2]),
        Ok(VideoTag::Command) => assert_eq!(body[0] >> 4 & 7, 5),
        Ok(VideoTag::Empty) => assert!(body.is_empty()),
        Ok(VideoTag::Unsupported(codec)) => unsupported(body, codec),
        Err(error) => refused(body, error),
    }
}

/// Writes the tag again and reads it.
fn nal_units(body: &Bytes, tag: &VideoTag) {
    let VideoTag::AvcNalUnits { keyframe, composition_time_ms, payload } = tag else { return };
    assert!((-0x80_0000..0x80_0000).contains(composition_time_ms));
    assert_eq!(payload, &body[5..]);
    let mut written = vec![if *keyframe { 0x17 } else { 0x27 }, 1];
    written.extend_from_slice(&composition_time_ms.to_be_bytes()[1..]);
    written.extend_from_slice(payload);
    assert_eq!(VideoTag::parse(&written.into()).as_ref(), Ok(tag));
}

fn audio(body: &Bytes) {
    match AudioTag::parse(body) {
        Ok(AudioTag::AacSequenceHeader(config)) => {
            assert_eq!((body[1], &config[..]), (0, &body[2..]))
        }
        Ok(AudioTag::AacRaw(frame)) => assert_eq!((body[1], &frame[..]), (1, &body[2..])),
        Ok(AudioTag::Empty) => assert!(body.is_empty()),
        Ok(AudioTag::Unsupported(codec)) => unsupported(body, codec),
        Err(error) => refused(body, error),
    }
}

fn unsupported(body: &[u8], codec: UnsupportedCodec) {
    match codec {
        UnsupportedCodec::VideoCodecId(id) => assert!(id != 7 && id == body[0] & 0x0F),
        UnsupportedCodec::SoundFormat(format) => assert!(format != 10 && format == body[0] >> 4),
        UnsupportedCodec::FourCc(four_cc) => {
            assert!(body[1..].windows(4).any(|window| window == four_cc));
        }
    }
}

fn refused(body: &[u8], error: FlvError) {
    match error {
        FlvError::Truncated(length) => assert_eq!(length, body.len()),
        FlvError::PacketType(packet_type) => assert_eq!(packet_type, body[1]),
    }
}
