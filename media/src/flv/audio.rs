//! Audio tags.

use bytes::Bytes;

use super::{FlvError, Reader, TrackTag, UnsupportedCodec, multitrack::read_tracks};

/// SoundFormat.
mod sound_format {
    pub(super) const MP3: u8 = 2;
    pub(super) const PCMA: u8 = 7;
    pub(super) const PCMU: u8 = 8;
    /// A packet type and a FourCC follow (Enhanced RTMP v2).
    pub(super) const EX_HEADER: u8 = 9;
    pub(super) const AAC: u8 = 10;
    pub(super) const MP3_8K: u8 = 14;
}
/// AudioPacketType (Enhanced RTMP v2).
mod packet_type {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const MULTITRACK: u8 = 5;
}

/// An audio codec that is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum AudioCodec {
    /// MPEG-4 AAC.
    Aac,
    /// MPEG-1 or MPEG-2 audio, layer III.
    Mp3,
    /// Opus.
    Opus,
    /// G.711 A-law of so many channels.
    Pcma(u8),
    /// G.711 µ-law of so many channels.
    Pcmu(u8),
    /// AC-3.
    Ac3,
}

impl AudioCodec {
    fn of_four_cc(four_cc: [u8; 4]) -> Option<Self> {
        match &four_cc {
            b"mp4a" => Some(Self::Aac),
            b".mp3" => Some(Self::Mp3),
            b"Opus" => Some(Self::Opus),
            b"ac-3" => Some(Self::Ac3),
            _ => None,
        }
    }
}

/// The body of an audio tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudioTag {
    /// The codec's header: an AudioSpecificConfig (ISO/IEC 14496-3), or the identification header of Ogg Opus (RFC 7845, 5.1).
    SequenceHeader {
        /// The codec.
        codec: AudioCodec,
        /// The header.
        header: Bytes,
    },
    /// One frame (G.711: some samples).
    Frame {
        /// The codec.
        codec: AudioCodec,
        /// The frame.
        payload: Bytes,
    },
    /// End of sequence, a multichannel config and the like: no sound.
    Command,
    /// An empty tag.
    Empty,
    /// Tags of several tracks. None of them is multitrack again.
    Multitrack(Vec<TrackTag<AudioTag>>),
    /// A codec that is not carried.
    Unsupported(UnsupportedCodec),
}

impl AudioTag {
    /// Reads the payload of an RTMP message of type 8.
    pub fn parse(body: &Bytes) -> Result<Self, FlvError> {
        let Some(&first) = body.first() else { return Ok(Self::Empty) };
        let mut reader = Reader { body, at: 1 };
        // SoundType: 1 for stereo.
        let channels = 1 + (first & 1);
        let codec = match first >> 4 {
            sound_format::EX_HEADER => return Self::with_four_cc(first & 0x0F, &mut reader),
            sound_format::AAC => {
                let codec = AudioCodec::Aac;
                return match reader.u8()? {
                    0 => Ok(Self::SequenceHeader { codec, header: reader.rest() }),
                    1 => Ok(Self::Frame { codec, payload: reader.rest() }),
                    other => Err(FlvError::PacketType(other)),
                };
            }
            sound_format::MP3 | sound_format::MP3_8K => AudioCodec::Mp3,
            sound_format::PCMA => AudioCodec::Pcma(channels),
            sound_format::PCMU => AudioCodec::Pcmu(channels),
            other => return Ok(Self::Unsupported(UnsupportedCodec::SoundFormat(other))),
        };
        Ok(Self::Frame { codec, payload: reader.rest() })
    }

    fn with_four_cc(packet_type: u8, reader: &mut Reader<'_>) -> Result<Self, FlvError> {
        let packet_type = reader.mod_ex(packet_type)?;
        if packet_type == packet_type::MULTITRACK {
            let tracks = read_tracks(reader, |packet_type, four_cc, body| {
                Ok(Self::enhanced(packet_type, four_cc, body.clone()))
            })?;
            return Ok(Self::Multitrack(tracks));
        }
        let four_cc = reader.take()?;
        Ok(Self::enhanced(packet_type, four_cc, reader.rest()))
    }

    /// What follows the FourCC.
    fn enhanced(packet_type: u8, four_cc: [u8; 4], body: Bytes) -> Self {
        let Some(codec) = AudioCodec::of_four_cc(four_cc) else {
            return Self::Unsupported(UnsupportedCodec::FourCc(four_cc));
        };
        match packet_type {
            packet_type::SEQUENCE_START => Self::SequenceHeader { codec, header: body },
            packet_type::CODED_FRAMES => Self::Frame { codec, payload: body },
            _ => Self::Command,
        }
    }
}
