//! AV1 (AV1 Bitstream & Decoding Process Specification; AV1 Codec ISO Media File Format Binding, 2.3): OBUs, the sequence header, the
//! AV1CodecConfigurationRecord.

use bytes::Bytes;

use super::bits::BitReader;

/// The longest sequence header that is kept: the syntax ends after some 100 bytes with 32 operating points.
const MAX_SEQUENCE_HEADER_BYTES: usize = 1024;

/// What an AV1CodecConfigurationRecord, or an SDP, says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// seq_profile.
    pub profile: u8,
    /// seq_level_idx_0.
    pub level_idx: u8,
    /// seq_tier_0.
    pub tier: u8,
    /// Bits of a sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// The sequence header OBU without its size field; empty where it is not known.
    pub sequence_header: Bytes,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Av1Error {
    /// The record is shorter than its four bytes, or not of version 1.
    #[error("no AV1CodecConfigurationRecord of version 1")]
    Record,
    /// An OBU ends behind its temporal unit.
    #[error("an OBU ends behind its temporal unit of {0} bytes")]
    Truncated(usize),
    /// No picture in a temporal unit.
    #[error("a temporal unit without a frame")]
    Empty,
}

impl Config {
    /// Reads an AV1CodecConfigurationRecord.
    pub fn parse(record: &Bytes) -> Result<Self, Av1Error> {
        let Some(&[0x81, profile_level, flags, _]) = record.first_chunk::<4>() else {
            return Err(Av1Error::Record);
        };
        let mut config = Self {
            profile: profile_level >> 5,
            level_idx: profile_level & 0b1_1111,
            tier: flags >> 7,
            bit_depth: match flags >> 5 & 0b11 {
                0b00 | 0b01 => 8,
                0b10 => 10,
                _ => 12,
            },
            sequence_header: Bytes::new(),
        };
        for obu in obus(&record[4..]).map_while(Result::ok) {
            if obu.obu_type == obu_type::SEQUENCE_HEADER {
                config.learn(obu);
            }
        }
        Ok(config)
    }

    /// Takes the sequence header of a temporal unit, and what it says of profile, level, tier and bit depth. Whether it is another.
    pub fn learn(&mut self, obu: Obu<'_>) -> bool {
        let header = obu.without_size();
        if obu.obu_type != obu_type::SEQUENCE_HEADER
            || header.len() > MAX_SEQUENCE_HEADER_BYTES
            || self.sequence_header == header
        {
            return false;
        }
        self.sequence_header = header.into();
        if let Some(fields) = SequenceHeader::parse(obu.payload) {
            (self.profile, self.bit_depth) = (fields.profile, fields.bit_depth);
            (self.level_idx, self.tier) = (fields.level_idx, fields.tier);
        }
        true
    }

    /// Width and height in pixels, from the sequence header.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        let header = *self.sequence_header.first()?;
        let header_bytes = 1 + usize::from(header >> 2 & 1);
        let fields = SequenceHeader::parse(self.sequence_header.get(header_bytes..)?)?;
        Some(fields.dimensions)
    }

    /// `av01.P.LLT.DD` (AV1 Codec ISO Media File Format Binding, 5).
    pub fn codec_string(&self) -> String {
        let tier = if self.tier == 0 { 'M' } else { 'H' };
        let depth = self.bit_depth.max(8);
        format!("av01.{}.{:02}{tier}.{depth:02}", self.profile, self.level_idx)
    }
}

/// What a sequence header says (AV1, 5.5), of its first operating point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct SequenceHeader {
    profile: u8,
    level_idx: u8,
    tier: u8,
    bit_depth: u8,
    /// max_frame_width and max_frame_height.
    dimensions: (u32, u32),
}

impl SequenceHeader {
    /// Reads sequence_header_obu (AV1, 5.5.1) as far as the bit depth.
    fn parse(payload: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(payload);
        let mut fields = Self { profile: bits.read(3)? as u8, ..Self::default() };
        bits.skip(1)?;
        let reduced = bits.flag()?;
        if reduced {
            fields.level_idx = bits.read(5)? as u8;
        } else {
            fields.operating_points(&mut bits)?;
        }
        let (width_bits, height_bits) = (bits.read(4)? as usize + 1, bits.read(4)? as usize + 1);
        fields.dimensions = (bits.read(width_bits)? + 1, bits.read(height_bits)? + 1);
        // frame_id_numbers_present_flag, and the two lengths behind it.
        if !reduced && bits.flag()? {
            bits.skip(4 + 3)?;
        }
        bits.skip(3)?;
        if !reduced {
            inter_tools(&mut bits)?;
        }
        bits.skip(3)?;
        // color_config (AV1, 5.5.2).
        fields.bit_depth = match bits.flag()? {
            false => 8,
            true if fields.profile == 2 && bits.flag()? => 12,
            true => 10,
        };
        Some(fields)
    }

    fn operating_points(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let mut delay_length = None;
        if bits.flag()? {
            delay_length = timing_info(bits)?;
        }
        let initial_display_delay = bits.flag()?;
        for at in 0..=bits.read(5)? {
            bits.skip(12)?;
            let level_idx = bits.read(5)? as u8;
            let tier = if level_idx > 7 { bits.read(1)? as u8 } else { 0 };
            if at == 0 {
                (self.level_idx, self.tier) = (level_idx, tier);
            }
            if let Some(length) = delay_length
                && bits.flag()?
            {
                bits.skip(2 * length + 1)?;
            }
            if initial_display_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
        Some(())
    }
}

/// From enable_interintra_compound to order_hint_bits_minus_1 (AV1, 5.5.1).
fn inter_tools(bits: &mut BitReader<'_>) -> Option<()> {
    bits.skip(4)?;
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?;
    }
    // seq_choose_screen_content_tools, or else the tools themselves; seq_choose_integer_mv likewise.
    let screen_content = bits.flag()? || bits.flag()?;
    if screen_content && !bits.flag()? {
        bits.skip(1)?;
    }
    if order_hint {
        bits.skip(3)?;
    }
    Some(())
}

/// timing_info and decoder_model_info (AV1, 5.5.3 and 5.5.4): the length of buffer delays, where there is a decoder model.
fn timing_info(bits: &mut BitReader<'_>) -> Option<Option<usize>> {
    bits.skip(32 + 32)?;
    if bits.flag()? {
        // num_ticks_per_picture_minus_1, in uvlc as ue(v) is.
        bits.exp_golomb()?;
    }
    if !bits.flag()? {
        return Some(None);
    }
    let length = bits.read(5)? as usize + 1;
    bits.skip(32 + 5 + 5)?;
    Some(Some(length))
}

/// One OBU (AV1, 5.3).
#[derive(Clone, Copy, Debug)]
pub struct Obu<'a> {
    /// obu_type.
    pub obu_type: u8,
    /// Its header (one byte, or two with the extension), obu_has_size_field taken out.
    header: [u8; 2],
    header_bytes: usize,
    /// What follows header and size.
    pub payload: &'a [u8],
}

impl Obu<'_> {
    /// The header as RTP has it: without a size field.
    pub fn header(&self) -> &[u8] {
        &self.header[..self.header_bytes]
    }

    /// Whether it holds (part of) a picture.
    pub fn is_picture(&self) -> bool {
        matches!(self.obu_type, obu_type::FRAME_HEADER | obu_type::FRAME)
    }

    /// Bytes of [`without_size`](Self::without_size).
    pub fn bytes(&self) -> usize {
        self.header_bytes + self.payload.len()
    }

    /// Header and payload, without a size field.
    pub fn without_size(&self) -> Vec<u8> {
        [self.header(), self.payload].concat()
    }
}

/// The OBUs of a temporal unit in the low-overhead format (AV1, 5.2). Ends after the first error.
pub fn obus(temporal_unit: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, Av1Error>> {
    let whole = temporal_unit.len();
    let mut rest = temporal_unit;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((obu, behind)) = split_obu(rest) else {
            rest = &[];
            return Some(Err(Av1Error::Truncated(whole)));
        };
        rest = behind;
        Some(Ok(obu))
    })
}

fn split_obu(bytes: &[u8]) -> Option<(Obu<'_>, &[u8])> {
    let first = *bytes.first()?;
    let header_bytes = 1 + usize::from(first >> 2 & 1);
    let extension = if header_bytes == 2 { *bytes.get(1)? } else { 0 };
    let mut behind = bytes.get(header_bytes..)?;
    let has_size = first & 0b10 != 0;
    let size = if has_size {
        let (size, after) = leb128(behind)?;
        behind = after;
        size
    } else {
        behind.len()
    };
    let (payload, behind) = behind.split_at_checked(size)?;
    let header = [first & !0b10, extension];
    Some((Obu { obu_type: first >> 3 & 0b1111, header, header_bytes, payload }, behind))
}

/// leb128() (AV1, 4.10.5), below 2^32.
pub fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// obu_type (AV1, 6.2.2), those that matter here.
pub mod obu_type {
    /// Sequence header.
    pub const SEQUENCE_HEADER: u8 = 1;
    /// Temporal delimiter.
    pub const TEMPORAL_DELIMITER: u8 = 2;
    /// Frame header.
    pub const FRAME_HEADER: u8 = 3;
    /// Frame.
    pub const FRAME: u8 = 6;
    /// Tile list.
    pub const TILE_LIST: u8 = 8;
    /// Padding.
    pub const PADDING: u8 = 15;
}

#[cfg(test)]
mod tests;
