//! FLV audio and video tags (Adobe Flash Video File Format Specification 10.1, E.4.2 and E.4.3), as they stand in
//! RTMP messages of types 8 and 9. Payloads are slices of the message, never copies.

use bytes::Bytes;

/// FrameType values of a video tag.
const KEYFRAME: u8 = 1;
const GENERATED_KEYFRAME: u8 = 4;
const COMMAND_FRAME: u8 = 5;
/// CodecID of AVC.
const CODEC_AVC: u8 = 7;
/// SoundFormat of AAC.
const SOUND_AAC: u8 = 10;
/// Enhanced RTMP v2: the top bit of a video tag and the SoundFormat of an audio tag that say that a
/// packet type and a FourCC follow; packet types that put something before the FourCC or none after.
const EX_VIDEO_HEADER: u8 = 0x80;
const SOUND_EX_HEADER: u8 = 9;
const EX_METADATA: u8 = 4;
const EX_VIDEO_MULTITRACK: u8 = 6;
const EX_AUDIO_MULTITRACK: u8 = 5;
const EX_MOD_EX: u8 = 7;

/// The body of a video tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VideoTag {
    /// AVC sequence header: an AVCDecoderConfigurationRecord.
    AvcSequenceHeader(Bytes),
    /// One access unit as length-prefixed NAL units.
    AvcNalUnits {
        /// FrameType 1 (or 4).
        keyframe: bool,
        /// PTS - DTS in milliseconds, signed 24 bits.
        composition_time_ms: i32,
        /// The NAL units.
        payload: Bytes,
    },
    /// AVC end of sequence.
    AvcEndOfSequence,
    /// FrameType 5: a seek or info command, not a picture.
    Command,
    /// An empty tag.
    Empty,
    /// A codec that is not carried: its CodecID, or the FourCC of an Enhanced RTMP tag.
    Unsupported(UnsupportedCodec),
}

/// The body of an audio tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudioTag {
    /// AAC sequence header: an AudioSpecificConfig.
    AacSequenceHeader(Bytes),
    /// One raw AAC frame.
    AacRaw(Bytes),
    /// An empty tag.
    Empty,
    /// A codec that is not carried.
    Unsupported(UnsupportedCodec),
}

/// Names a codec that is not carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum UnsupportedCodec {
    /// CodecID of a video tag, 0 to 15.
    VideoCodecId(u8),
    /// SoundFormat of an audio tag, 0 to 15.
    SoundFormat(u8),
    /// FourCC of an Enhanced RTMP tag.
    FourCc([u8; 4]),
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FlvError {
    /// The tag ends within its header.
    #[error("FLV tag of {0} bytes ends within its header")]
    Truncated(usize),
    /// An AVCPacketType or AACPacketType that is not defined.
    #[error("FLV packet type {0} is not defined")]
    PacketType(u8),
}

impl VideoTag {
    /// Reads the payload of an RTMP message of type 9.
    pub fn parse(body: &Bytes) -> Result<Self, FlvError> {
        let Some(&first) = body.first() else { return Ok(Self::Empty) };
        if first & EX_VIDEO_HEADER != 0 {
            let (packet_type, rest) = skip_mod_ex(body, first & 0x0F)?;
            if (first >> 4) & 0b111 == COMMAND_FRAME && packet_type != EX_METADATA {
                return Ok(Self::Command);
            }
            let four_cc = parse_four_cc(body, rest, packet_type == EX_VIDEO_MULTITRACK)?;
            return Ok(Self::Unsupported(UnsupportedCodec::FourCc(four_cc)));
        }
        let (frame_type, codec_id) = (first >> 4, first & 0x0F);
        if frame_type == COMMAND_FRAME {
            return Ok(Self::Command);
        }
        if codec_id != CODEC_AVC {
            return Ok(Self::Unsupported(UnsupportedCodec::VideoCodecId(codec_id)));
        }
        match *body.get(1).ok_or(FlvError::Truncated(body.len()))? {
            // Encoders end the sequence with and without a composition time.
            2 => return Ok(Self::AvcEndOfSequence),
            0 | 1 => {}
            other => return Err(FlvError::PacketType(other)),
        }
        let &[_, packet_type, a, b, c] =
            body.first_chunk().ok_or(FlvError::Truncated(body.len()))?;
        let payload = body.slice(5..);
        Ok(match packet_type {
            0 => Self::AvcSequenceHeader(payload),
            _ => Self::AvcNalUnits {
                keyframe: matches!(frame_type, KEYFRAME | GENERATED_KEYFRAME),
                composition_time_ms: i32::from_be_bytes([a, b, c, 0]) >> 8,
                payload,
            },
        })
    }
}

impl AudioTag {
    /// Reads the payload of an RTMP message of type 8.
    pub fn parse(body: &Bytes) -> Result<Self, FlvError> {
        let Some(&first) = body.first() else { return Ok(Self::Empty) };
        match first >> 4 {
            SOUND_AAC => match *body.get(1).ok_or(FlvError::Truncated(body.len()))? {
                0 => Ok(Self::AacSequenceHeader(body.slice(2..))),
                1 => Ok(Self::AacRaw(body.slice(2..))),
                other => Err(FlvError::PacketType(other)),
            },
            SOUND_EX_HEADER => {
                let (packet_type, rest) = skip_mod_ex(body, first & 0x0F)?;
                let four_cc = parse_four_cc(body, rest, packet_type == EX_AUDIO_MULTITRACK)?;
                Ok(Self::Unsupported(UnsupportedCodec::FourCc(four_cc)))
            }
            other => Ok(Self::Unsupported(UnsupportedCodec::SoundFormat(other))),
        }
    }
}

/// Passes over the ModEx data of an Enhanced RTMP tag; gives the packet type and what follows it.
fn skip_mod_ex(body: &[u8], mut packet_type: u8) -> Result<(u8, &[u8]), FlvError> {
    let truncated = FlvError::Truncated(body.len());
    let mut rest = &body[1..];
    while packet_type == EX_MOD_EX {
        let (&size, after) = rest.split_first().ok_or(truncated.clone())?;
        let (size, after) = match (size, after) {
            (255, [a, b, after @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])) + 1, after),
            (255, _) => return Err(truncated),
            (size, after) => (usize::from(size) + 1, after),
        };
        let [next, after @ ..] = after.get(size..).unwrap_or_default() else {
            return Err(truncated);
        };
        packet_type = next & 0x0F;
        rest = after;
    }
    Ok((packet_type, rest))
}

/// The (first) FourCC of an Enhanced RTMP tag, which in a multitrack one stands behind a byte.
fn parse_four_cc(body: &[u8], rest: &[u8], multitrack: bool) -> Result<[u8; 4], FlvError> {
    let rest = rest.get(usize::from(multitrack)..).unwrap_or_default();
    rest.first_chunk().copied().ok_or(FlvError::Truncated(body.len()))
}

#[cfg(test)]
mod tests;
