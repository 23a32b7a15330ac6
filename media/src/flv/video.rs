//! Video tags.

use bytes::Bytes;

use super::{FlvError, Reader, TrackTag, UnsupportedCodec, multitrack::read_tracks};

/// FrameType.
const KEYFRAME: u8 = 1;
const GENERATED_KEYFRAME: u8 = 4;
const COMMAND_FRAME: u8 = 5;
/// CodecID of AVC, and of HEVC as Chinese encoders and forks of ffmpeg have it.
const CODEC_AVC: u8 = 7;
const CODEC_HEVC: u8 = 12;
/// The top bit of the first byte says that a packet type and a FourCC follow.
const EX_HEADER: u8 = 0x80;
/// VideoPacketType (Enhanced RTMP).
mod packet_type {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const SEQUENCE_END: u8 = 2;
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const METADATA: u8 = 4;
    pub(super) const MULTITRACK: u8 = 6;
}

/// A video codec that is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum VideoCodec {
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
    /// AV1.
    Av1,
    /// VP9.
    Vp9,
}

impl VideoCodec {
    fn of_four_cc(four_cc: [u8; 4]) -> Option<Self> {
        match &four_cc {
            b"avc1" => Some(Self::Avc),
            b"hvc1" => Some(Self::Hevc),
            b"av01" => Some(Self::Av1),
            b"vp09" => Some(Self::Vp9),
            _ => None,
        }
    }

    /// Whether its coded frames have a composition time in front.
    fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc)
    }
}

/// The body of a video tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VideoTag {
    /// The codec's decoder configuration record: AVCDecoderConfigurationRecord, HEVCDecoderConfigurationRecord (both ISO/IEC
    /// 14496-15), AV1CodecConfigurationRecord, or VPCodecConfigurationRecord.
    SequenceHeader {
        /// The codec.
        codec: VideoCodec,
        /// The record.
        record: Bytes,
    },
    /// One access unit: length-prefixed NAL units, a temporal unit of OBUs, or a VP9 (super)frame.
    Frame {
        /// The codec.
        codec: VideoCodec,
        /// FrameType 1 (or 4).
        keyframe: bool,
        /// PTS - DTS in milliseconds, signed 24 bits.
        composition_time_ms: i32,
        /// The access unit.
        payload: Bytes,
    },
    /// End of sequence.
    EndOfSequence,
    /// FrameType 5: a seek or info command; or metadata of the pictures, such as their colours. Not a picture.
    Command,
    /// An empty tag.
    Empty,
    /// Tags of several tracks. None of them is multitrack again.
    Multitrack(Vec<TrackTag<VideoTag>>),
    /// A codec that is not carried: its CodecID, or the FourCC of an Enhanced RTMP tag.
    Unsupported(UnsupportedCodec),
}

impl VideoTag {
    /// Reads the payload of an RTMP message of type 9.
    pub fn parse(body: &Bytes) -> Result<Self, FlvError> {
        let Some(&first) = body.first() else { return Ok(Self::Empty) };
        let mut reader = Reader { body, at: 1 };
        if first & EX_HEADER == 0 {
            return Self::legacy(first >> 4, first & 0x0F, &mut reader);
        }
        let frame_type = first >> 4 & 0b111;
        let packet_type = reader.mod_ex(first & 0x0F)?;
        if frame_type == COMMAND_FRAME && packet_type != packet_type::METADATA {
            return Ok(Self::Command);
        }
        let keyframe = is_keyframe(frame_type);
        if packet_type == packet_type::MULTITRACK {
            let tracks = read_tracks(&mut reader, |packet_type, four_cc, body| {
                let mut reader = Reader { body, at: 0 };
                Self::enhanced(packet_type, four_cc, keyframe, &mut reader)
            })?;
            return Ok(Self::Multitrack(tracks));
        }
        let four_cc = reader.take()?;
        Self::enhanced(packet_type, four_cc, keyframe, &mut reader)
    }

    fn legacy(frame_type: u8, codec_id: u8, reader: &mut Reader<'_>) -> Result<Self, FlvError> {
        if frame_type == COMMAND_FRAME {
            return Ok(Self::Command);
        }
        let codec = match codec_id {
            CODEC_AVC => VideoCodec::Avc,
            CODEC_HEVC => VideoCodec::Hevc,
            other => return Ok(Self::Unsupported(UnsupportedCodec::VideoCodecId(other))),
        };
        let packet_type = match reader.u8()? {
            // Encoders end the sequence with and without a composition time.
            2 => return Ok(Self::EndOfSequence),
            packet_type @ (0 | 1) => packet_type,
            other => return Err(FlvError::PacketType(other)),
        };
        let composition_time_ms = composition_time(reader)?;
        Ok(match packet_type {
            0 => Self::SequenceHeader { codec, record: reader.rest() },
            _ => Self::Frame {
                codec,
                keyframe: is_keyframe(frame_type),
                composition_time_ms,
                payload: reader.rest(),
            },
        })
    }

    /// What follows the FourCC.
    fn enhanced(
        packet_type: u8,
        four_cc: [u8; 4],
        keyframe: bool,
        reader: &mut Reader<'_>,
    ) -> Result<Self, FlvError> {
        let Some(codec) = VideoCodec::of_four_cc(four_cc) else {
            return Ok(Self::Unsupported(UnsupportedCodec::FourCc(four_cc)));
        };
        let composition_time_ms = match packet_type {
            packet_type::SEQUENCE_START => {
                return Ok(Self::SequenceHeader { codec, record: reader.rest() });
            }
            packet_type::SEQUENCE_END => return Ok(Self::EndOfSequence),
            packet_type::CODED_FRAMES if codec.has_composition_time() => composition_time(reader)?,
            packet_type::CODED_FRAMES | packet_type::CODED_FRAMES_X => 0,
            // Metadata of the pictures, MPEG-2 TS sequence starts, and what is not defined yet.
            _ => return Ok(Self::Command),
        };
        Ok(Self::Frame { codec, keyframe, composition_time_ms, payload: reader.rest() })
    }
}

fn is_keyframe(frame_type: u8) -> bool {
    matches!(frame_type, KEYFRAME | GENERATED_KEYFRAME)
}

fn composition_time(reader: &mut Reader<'_>) -> Result<i32, FlvError> {
    reader.take::<3>().map(|[a, b, c]| i32::from_be_bytes([a, b, c, 0]) >> 8)
}
