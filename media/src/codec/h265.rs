//! H.265 (ITU-T H.265 and ISO/IEC 14496-15): NAL units, parameter sets, HEVCDecoderConfigurationRecord. Slices are not looked
//! into; SEI of the record is left out.

use std::fmt::Write as _;

use bytes::Bytes;

use super::bits::{BitReader, rbsp};

/// vps_video_parameter_set_id and sps_seq_parameter_set_id are 0 to 15 (H.265, 7.4.3.1 and 7.4.3.2.1).
const MAX_VPS: usize = 16;
const MAX_SPS: usize = 16;
/// pps_pic_parameter_set_id is 0 to 63 (H.265, 7.4.3.3.1).
const MAX_PPS: usize = 64;
/// The longest parameter set that is learned in-band, so that a track's config is bounded by 1 MB.
const MAX_LEARNED_BYTES: usize = 8 * 1024;
/// The fields that are read lie within so many bytes of an SPS: profiles and levels of eight sub-layers take 100.
const SPS_FIELDS_BYTES: usize = 160;
/// Bytes of a NAL unit header (H.265, 7.3.1.2).
pub const NAL_HEADER_BYTES: usize = 2;

/// The parameter sets of a track, NAL unit headers included. Empty where they are not known yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Video parameter sets.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

/// What an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1) holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecoderConfigurationRecord {
    /// Bytes of each NAL unit's length prefix: 1, 2 or 4 (3 is tolerated).
    pub length_size: u8,
    /// The parameter sets.
    pub config: Config,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum H265Error {
    /// The record ends before what it announces.
    #[error("HEVCDecoderConfigurationRecord of {0} bytes ends too early")]
    Truncated(usize),
}

/// Profile, tier and level of a sequence parameter set (H.265, 7.3.3), as RFC 6381 strings and SDP say them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProfileTierLevel {
    /// general_profile_space.
    pub profile_space: u8,
    /// general_tier_flag.
    pub tier: u8,
    /// general_profile_idc.
    pub profile: u8,
    /// general_profile_compatibility_flags, the first in the top bit.
    pub compatibility: u32,
    /// The six bytes of constraint flags.
    pub constraints: [u8; 6],
    /// general_level_idc.
    pub level: u8,
}

impl DecoderConfigurationRecord {
    /// Reads the record of a sequence header. Slices, never copies. NAL units that are no parameter sets are passed over.
    pub fn parse(record: &Bytes) -> Result<Self, H265Error> {
        let truncated = || H265Error::Truncated(record.len());
        let length_size = (record.get(21).ok_or_else(truncated)? & 0b11) + 1;
        let arrays = *record.get(22).ok_or_else(truncated)?;
        let mut at = 23;
        let u16_at = |at: usize| {
            let bytes = record.get(at..).and_then(|rest| rest.first_chunk::<2>());
            bytes.map(|bytes| usize::from(u16::from_be_bytes(*bytes))).ok_or_else(truncated)
        };
        let mut config = Config::default();
        for _ in 0..arrays {
            let count = u16_at(at + 1)?;
            at += 3;
            for _ in 0..count {
                let from = at + 2;
                at = from + u16_at(at)?;
                if at > record.len() {
                    return Err(truncated());
                }
                let nal = record.slice(from..at);
                match nal_type::of_nal(&nal) {
                    Some(nal_type::VPS) => config.vps.push(nal),
                    Some(nal_type::SPS) => config.sps.push(nal),
                    Some(nal_type::PPS) => config.pps.push(nal),
                    _ => {}
                }
            }
        }
        Ok(Self { length_size, config })
    }
}

impl Config {
    /// Profile, tier and level of the first SPS that can be read.
    pub fn profile_tier_level(&self) -> Option<ProfileTierLevel> {
        self.sps.iter().find_map(|sps| {
            let bytes = rbsp(sps, NAL_HEADER_BYTES, SPS_FIELDS_BYTES);
            // Behind sps_video_parameter_set_id, sps_max_sub_layers_minus1 and sps_temporal_id_nesting_flag.
            let &[first, a, b, c, d, c0, c1, c2, c3, c4, c5, level] = bytes.get(1..13)? else {
                return None;
            };
            Some(ProfileTierLevel {
                profile_space: first >> 6,
                tier: first >> 5 & 1,
                profile: first & 0b1_1111,
                compatibility: u32::from_be_bytes([a, b, c, d]),
                constraints: [c0, c1, c2, c3, c4, c5],
                level,
            })
        })
    }

    /// Width and height in pixels after cropping, from the first SPS that can be read.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        self.sps.iter().find_map(|sps| Some(sps_fields(sps)?.1))
    }

    /// `hvc1.…` (ISO/IEC 14496-15, E.3); empty without an SPS.
    pub fn codec_string(&self) -> String {
        let Some(ptl) = self.profile_tier_level() else { return String::new() };
        let space = ["", "A", "B", "C"][usize::from(ptl.profile_space)];
        let tier = if ptl.tier == 0 { 'L' } else { 'H' };
        let compatibility = ptl.compatibility.reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", ptl.profile, ptl.level);
        let used = ptl.constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in &ptl.constraints[..used] {
            // Writing to a String cannot fail.
            let _ = write!(text, ".{byte:X}");
        }
        text
    }

    /// Whether a VPS, an SPS and a PPS are known.
    pub fn is_complete(&self) -> bool {
        !self.vps.is_empty() && !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// Puts in a parameter set seen in-band: replaces the one of the same id, else adds it. Whether that changed anything.
    /// Bounded by the ranges of ids, and by 8 KiB each.
    pub fn learn(&mut self, nal: &[u8]) -> bool {
        let Some(id) = parameter_set_id(nal).filter(|_| nal.len() <= MAX_LEARNED_BYTES) else {
            return false;
        };
        let sets = match nal_type::of_nal(nal) {
            Some(nal_type::VPS) => &mut self.vps,
            Some(nal_type::SPS) => &mut self.sps,
            _ => &mut self.pps,
        };
        let set = Bytes::copy_from_slice(nal);
        match sets.iter().position(|set| parameter_set_id(set) == Some(id)) {
            Some(at) if sets[at] == set => return false,
            Some(at) => sets[at] = set,
            None => sets.push(set),
        }
        true
    }
}

/// The id of a parameter set; `None` for other NAL units and for ids out of range.
fn parameter_set_id(nal: &[u8]) -> Option<u32> {
    let (id, max) = match nal_type::of_nal(nal)? {
        nal_type::VPS => (u32::from(nal.get(NAL_HEADER_BYTES)? >> 4), MAX_VPS),
        nal_type::SPS => (sps_fields(nal)?.0, MAX_SPS),
        nal_type::PPS => {
            let bytes = rbsp(nal, NAL_HEADER_BYTES, 8);
            (BitReader::new(&bytes).exp_golomb()?, MAX_PPS)
        }
        _ => return None,
    };
    ((id as usize) < max).then_some(id)
}

/// sps_seq_parameter_set_id, and width and height after cropping (H.265, 7.3.2.2.1).
fn sps_fields(sps: &[u8]) -> Option<(u32, (u32, u32))> {
    let bytes = rbsp(sps, NAL_HEADER_BYTES, SPS_FIELDS_BYTES);
    let mut bits = BitReader::new(&bytes);
    bits.skip(4)?;
    let sub_layers = bits.read(3)? as usize;
    bits.skip(1 + 88 + 8)?;
    // sub_layer_profile_present_flag and sub_layer_level_present_flag, eight of each if there is any sub-layer.
    let mut sizes = 0;
    for at in 0..if sub_layers > 0 { 8 } else { 0 } {
        let (profile, level) = (bits.flag()?, bits.flag()?);
        if at < sub_layers {
            sizes += if profile { 88 } else { 0 } + if level { 8 } else { 0 };
        }
    }
    bits.skip(sizes)?;
    let id = bits.exp_golomb()?;
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1)?;
    }
    let (mut width, mut height) = (bits.exp_golomb()?, bits.exp_golomb()?);
    if bits.flag()? {
        // Units of the conformance window: H.265, table 6-1.
        let (x, y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut edge = |unit: u32| bits.exp_golomb()?.checked_mul(unit);
        let (left, right, top, bottom) = (edge(x)?, edge(x)?, edge(y)?, edge(y)?);
        width = width.checked_sub(left.checked_add(right)?)?;
        height = height.checked_sub(top.checked_add(bottom)?)?;
    }
    Some((id, (width, height)))
}

/// nal_unit_type (H.265, table 7-1), those that matter here.
pub mod nal_type {
    /// The first and the last of those of intra random access point pictures: BLA, IDR and CRA (and two reserved ones).
    pub const IRAP: std::ops::RangeInclusive<u8> = 16..=23;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const AUD: u8 = 35;
    /// Supplemental enhancement information, before and behind the picture.
    pub const SEI: std::ops::RangeInclusive<u8> = 39..=40;

    /// The type in the first byte of a NAL unit's header.
    pub const fn of(first: u8) -> u8 {
        first >> 1 & 0b11_1111
    }

    /// The type of a NAL unit; `None` where it is too short for a header and a byte behind it.
    pub fn of_nal(nal: &[u8]) -> Option<u8> {
        (nal.len() > super::NAL_HEADER_BYTES).then(|| of(nal[0]))
    }
}

#[cfg(test)]
mod tests;
