//! Bodies of audio and video tags. Input: one body, read as either.

use bytes::Bytes;
use media::flv::{
    AudioCodec, AudioTag, FlvError, TrackTag, UnsupportedCodec, VideoCodec, VideoTag,
};

pub(crate) fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    match VideoTag::parse(&body) {
        Ok(tag) => video(&body, &tag, false),
        Err(error) => refused(&body, error),
    }
    match AudioTag::parse(&body) {
        Ok(tag) => audio(&body, &tag, false),
        Err(error) => refused(&body, error),
    }
}

/// A payload is the end of the body (of its track's part, in a multitrack message), and a tag written again reads the same.
fn video(body: &Bytes, tag: &VideoTag, of_track: bool) {
    match tag {
        VideoTag::SequenceHeader { codec, record } => {
            is_part(body, record, of_track);
            let written = [&[0x90][..], &four_cc(*codec), record].concat();
            assert_eq!(VideoTag::parse(&written.into()).as_ref(), Ok(tag));
        }
        VideoTag::Frame { codec, keyframe, composition_time_ms, payload } => {
            is_part(body, payload, of_track);
            assert!((-0x80_0000..0x80_0000).contains(composition_time_ms));
            let first = if *keyframe { 0x91 } else { 0xA1 };
            let mut written = [&[first][..], &four_cc(*codec)].concat();
            if matches!(codec, VideoCodec::Avc | VideoCodec::Hevc) {
                written.extend_from_slice(&composition_time_ms.to_be_bytes()[1..]);
            } else {
                assert_eq!(*composition_time_ms, 0);
            }
            written.extend_from_slice(payload);
            assert_eq!(VideoTag::parse(&written.into()).as_ref(), Ok(tag));
        }
        VideoTag::Multitrack(tracks) => {
            assert!(!of_track, "multitrack in multitrack");
            assert!(2 * tracks.len() <= body.len());
            tracks.iter().for_each(|TrackTag { tag, .. }| video(body, tag, true));
        }
        VideoTag::Empty => assert!(body.is_empty()),
        VideoTag::EndOfSequence | VideoTag::Command => {}
        VideoTag::Unsupported(codec) => unsupported(body, *codec),
    }
}

fn audio(body: &Bytes, tag: &AudioTag, of_track: bool) {
    match tag {
        AudioTag::SequenceHeader { header, .. } => is_part(body, header, of_track),
        AudioTag::Frame { codec, payload } => {
            is_part(body, payload, of_track);
            if let AudioCodec::Pcma(channels) | AudioCodec::Pcmu(channels) = codec {
                assert_eq!(*channels, 1 + (body[0] & 1));
            }
        }
        AudioTag::Multitrack(tracks) => {
            assert!(!of_track, "multitrack in multitrack");
            assert!(2 * tracks.len() <= body.len());
            tracks.iter().for_each(|TrackTag { tag, .. }| audio(body, tag, true));
        }
        AudioTag::Empty => assert!(body.is_empty()),
        AudioTag::Command => {}
        AudioTag::Unsupported(codec) => unsupported(body, *codec),
    }
}

fn is_part(body: &Bytes, payload: &[u8], of_track: bool) {
    assert!(payload.len() < body.len());
    if !of_track {
        assert!(body.ends_with(payload));
    }
}

fn four_cc(codec: VideoCodec) -> [u8; 4] {
    match codec {
        VideoCodec::Avc => *b"avc1",
        VideoCodec::Hevc => *b"hvc1",
        VideoCodec::Av1 => *b"av01",
        VideoCodec::Vp9 => *b"vp09",
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
        FlvError::Truncated(length) => assert!(length <= body.len()),
        FlvError::PacketType(packet_type) => assert_eq!(packet_type, body[1]),
    }
}
