//! FLV audio and video tags (Adobe Flash Video File Format Specification 10.1, E.4.2 and E.4.3; Enhanced RTMP v1 and v2, by
//! FourCC), as they stand in RTMP messages of types 8 and 9. Payloads are slices of the message, never copies.
//!
//! Left out on purpose: MPEG-2 TS sequence starts, colour metadata, multichannel configs and the nanosecond offsets of ModEx, which
//! are read over.

mod audio;
mod multitrack;
mod video;

use bytes::Bytes;

pub use audio::{AudioCodec, AudioTag};
pub use video::{VideoCodec, VideoTag};

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

impl std::fmt::Display for UnsupportedCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::VideoCodecId(id) => write!(f, "FLV video codec {id}"),
            Self::SoundFormat(format) => write!(f, "FLV sound format {format}"),
            Self::FourCc(four_cc) => write!(f, "{}", four_cc.escape_ascii()),
        }
    }
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

/// One track's tag of a multitrack message (Enhanced RTMP v2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackTag<T> {
    /// The track's id; 0 is the default track.
    pub track_id: u8,
    /// Its tag.
    pub tag: T,
}

/// Takes fields off the front of a tag's body.
struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FlvError> {
        let bytes = self.body.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let bytes = *bytes.ok_or(FlvError::Truncated(self.body.len()))?;
        self.at += N;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, FlvError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u24(&mut self) -> Result<usize, FlvError> {
        self.take::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]) as usize)
    }

    fn skip(&mut self, count: usize) -> Result<(), FlvError> {
        if self.body.len() - self.at < count {
            return Err(FlvError::Truncated(self.body.len()));
        }
        self.at += count;
        Ok(())
    }

    fn rest(&self) -> Bytes {
        self.body.slice(self.at..)
    }

    /// Reads over the ModEx prefixes of an Enhanced RTMP v2 tag: a size, so many bytes, and the next type. The packet type behind them.
    fn mod_ex(&mut self, mut packet_type: u8) -> Result<u8, FlvError> {
        const MOD_EX: u8 = 7;
        while packet_type == MOD_EX {
            let size = match self.u8()? {
                255 => usize::from(u16::from_be_bytes(self.take()?)) + 1,
                size => usize::from(size) + 1,
            };
            self.skip(size)?;
            packet_type = self.u8()? & 0x0F;
        }
        Ok(packet_type)
    }
}

#[cfg(test)]
mod tests;
