//! FLV audio and video tags (Adobe Flash Video File Format Specification 10.1, E.4.2 and E.4.3), as they stand in
//! RTMP messages of types 8 and 9. Payloads are slices of the message, never copies.

use bytes::Bytes;

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
    pub fn parse(_body: &Bytes) -> Result<Self, FlvError> {
        todo!()
    }
}

impl AudioTag {
    /// Reads the payload of an RTMP message of type 8.
    pub fn parse(_body: &Bytes) -> Result<Self, FlvError> {
        todo!()
    }
}
