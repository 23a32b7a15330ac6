//! VP9 (VP9 Bitstream & Decoding Process Specification; VP Codec ISO Media File Format Binding): the VPCodecConfigurationRecord and the
//! beginning of a frame's uncompressed header.

use super::bits::BitReader;

/// What a VPCodecConfigurationRecord, or an SDP, says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// 0 to 3.
    pub profile: u8,
    /// Ten times the level, such as 31; 0 where it is not known.
    pub level: u8,
    /// Bits of a sample: 8, 10 or 12; 0 where it is not known.
    pub bit_depth: u8,
    /// Width and height of the last keyframe in pixels; `None` before the first.
    pub dimensions: Option<(u32, u32)>,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Vp9Error {
    /// The record is shorter than profile, level and bit depth.
    #[error("VPCodecConfigurationRecord of {0} bytes")]
    Record(usize),
    /// No VP9 frame: empty, or without the frame marker.
    #[error("no VP9 frame")]
    Frame,
}

/// What the beginning of a frame says (VP9, 6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// 0 to 3.
    pub profile: u8,
    /// Whether it can be decoded by itself.
    pub keyframe: bool,
    /// Width and height in pixels; keyframes only.
    pub dimensions: Option<(u32, u32)>,
}

impl Config {
    /// Reads a VPCodecConfigurationRecord, with or without the version and flags of the box around it.
    pub fn parse(record: &[u8]) -> Result<Self, Vp9Error> {
        let fields = match record {
            [1, 0, 0, 0, fields @ ..] if record.len() >= 12 => fields,
            fields => fields,
        };
        let &[profile, level, depth, ..] = fields else {
            return Err(Vp9Error::Record(record.len()));
        };
        Ok(Self { profile: profile.min(3), level, bit_depth: depth >> 4, dimensions: None })
    }

    /// `vp09.PP.LL.DD` (VP Codec ISO Media File Format Binding, "Codecs Parameter String").
    pub fn codec_string(&self) -> String {
        let (level, depth) = (self.level.max(10), self.bit_depth.max(8));
        format!("vp09.{:02}.{level:02}.{depth:02}", self.profile)
    }
}

impl FrameHeader {
    /// Reads the uncompressed header of a frame, of a superframe's first one.
    pub fn parse(frame: &[u8]) -> Result<Self, Vp9Error> {
        Self::read(&mut BitReader::new(frame)).ok_or(Vp9Error::Frame)
    }

    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        if bits.read(2)? != 2 {
            return None;
        }
        let (low, high) = (bits.read(1)?, bits.read(1)?);
        let profile = (high << 1 | low) as u8;
        if profile == 3 {
            bits.skip(1)?;
        }
        if bits.flag()? {
            // show_existing_frame.
            return Some(Self { profile, keyframe: false, dimensions: None });
        }
        let keyframe = !bits.flag()?;
        bits.skip(2)?;
        let dimensions = if keyframe { key_dimensions(bits, profile) } else { None };
        Some(Self { profile, keyframe, dimensions })
    }
}

/// frame_sync_code, color_config and frame_size (VP9, 6.2.1 to 6.2.3).
fn key_dimensions(bits: &mut BitReader<'_>, profile: u8) -> Option<(u32, u32)> {
    const SYNC_CODE: u32 = 0x49_8342;
    const SRGB: u32 = 7;
    if bits.read(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?;
    }
    if bits.read(3)? == SRGB {
        bits.skip(usize::from(profile & 1))?;
    } else {
        bits.skip(1 + if profile & 1 == 1 { 3 } else { 0 })?;
    }
    Some((bits.read(16)? + 1, bits.read(16)? + 1))
}

#[cfg(test)]
mod tests;
