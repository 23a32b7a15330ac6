//! H.264 (ITU-T H.264 and ISO/IEC 14496-15): NAL units, parameter sets, AVCDecoderConfigurationRecord.
//! Slices are not looked into; SPS extensions of the record are left out.

use bytes::Bytes;
use h264_reader::nal::{
    Nal, RefNal,
    sps::{SeqParameterSet, VuiParameters},
};

use super::bits::{BitReader, rbsp};

/// seq_parameter_set_id is 0 to 31 (H.264, 7.4.2.1.1).
const MAX_SPS: usize = 32;
/// pic_parameter_set_id is 0 to 255 (H.264, 7.4.2.2).
const MAX_PPS: usize = 256;
/// The longest parameter set that is learned in-band, so that a track's config is bounded by 2.4 MB. An SPS with all scaling lists
/// and a full VUI has less than 1 KiB; a PPS with a slice group map of 1080p has 3 KiB.
const MAX_LEARNED_BYTES: usize = 8 * 1024;

/// The parameter sets of a track. Empty where they are not known yet (an SDP without `sprop-parameter-sets`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Sequence parameter set NAL units, header byte included, in the order of the record.
    pub sps: Vec<Bytes>,
    /// Picture parameter set NAL units, likewise.
    pub pps: Vec<Bytes>,
}

/// What an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecoderConfigurationRecord {
    /// Bytes of each NAL unit's length prefix: 1, 2 or 4 (3 is tolerated).
    pub length_size: u8,
    /// The parameter sets.
    pub config: Config,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum H264Error {
    /// The data ends before what it announces.
    #[error("H.264 data ends at byte {at}, {needed} more were announced")]
    Truncated {
        /// Where the data ends.
        at: usize,
        /// How many bytes are missing.
        needed: usize,
    },
    /// A record of another version than 1.
    #[error("AVCDecoderConfigurationRecord of version {0}, only 1 is defined")]
    Version(u8),
}

impl DecoderConfigurationRecord {
    /// Reads the record of an AVC sequence header. Slices, never copies. NAL units that are no parameter sets of the list
    /// they stand in are passed over.
    pub fn parse(record: &Bytes) -> Result<Self, H264Error> {
        let mut reader = RecordReader { record, at: 0 };
        let version = reader.take(1)?[0];
        if version != 1 {
            return Err(H264Error::Version(version));
        }
        // Profile, constraint flags and level stand in the SPS again.
        let head = reader.take(5)?;
        let length_size = (head[3] & 0b11) + 1;
        let sps = reader.parameter_sets(head[4] & 0b1_1111, nal_type::SPS)?;
        let count = reader.take(1)?[0];
        let pps = reader.parameter_sets(count, nal_type::PPS)?;
        Ok(Self { length_size, config: Config { sps, pps } })
    }
}

/// Takes fields off the front of a record.
struct RecordReader<'a> {
    record: &'a Bytes,
    at: usize,
}

impl RecordReader<'_> {
    fn take(&mut self, count: usize) -> Result<Bytes, H264Error> {
        let left = self.record.len() - self.at;
        if left < count {
            return Err(H264Error::Truncated { at: self.record.len(), needed: count - left });
        }
        self.at += count;
        Ok(self.record.slice(self.at - count..self.at))
    }

    fn parameter_sets(&mut self, count: u8, of_type: u8) -> Result<Vec<Bytes>, H264Error> {
        let mut sets = Vec::new();
        for _ in 0..count {
            let length = self.take(2)?;
            let set = self.take(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
            if set.first().is_some_and(|&header| nal_type::of(header) == of_type) {
                sets.push(set);
            }
        }
        Ok(sets)
    }
}

impl Config {
    /// profile_idc, constraint flags and level_idc of the first SPS, the `profile-level-id` of RFC 6184, 8.1.
    pub fn profile_level_id(&self) -> Option<[u8; 3]> {
        self.sps.first()?.get(1..4)?.try_into().ok()
    }
    /// Width and height in pixels after cropping, from the first SPS that can be read.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        self.sps.iter().find_map(|sps| parsed(sps)?.pixel_dimensions().ok())
    }
    /// `avc1.PPCCLL`; empty without an SPS.
    pub fn codec_string(&self) -> String {
        match self.profile_level_id() {
            Some([profile, constraints, level]) => {
                format!("avc1.{profile:02X}{constraints:02X}{level:02X}")
            }
            None => String::new(),
        }
    }
    /// Whether both an SPS and a PPS are known.
    pub fn is_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }
    /// Puts in a parameter set seen in-band: replaces the one of the same id, else adds it. Whether that changed anything.
    /// Bounded: at most 32 SPS and 256 PPS (their id ranges), of at most 8 KiB each.
    pub fn learn(&mut self, nal: &[u8]) -> bool {
        let Some(id) = parameter_set_id(nal).filter(|_| nal.len() <= MAX_LEARNED_BYTES) else {
            return false;
        };
        let (sets, max) = match nal_type::of(nal[0]) {
            nal_type::SPS => (&mut self.sps, MAX_SPS),
            _ => (&mut self.pps, MAX_PPS),
        };
        let set = Bytes::copy_from_slice(nal);
        match sets.iter().position(|set| parameter_set_id(set) == Some(id)) {
            Some(at) if sets[at] == set => return false,
            Some(at) => sets[at] = set,
            None if sets.len() < max => sets.push(set),
            None => return false,
        }
        true
    }
}

fn parsed(sps: &[u8]) -> Option<SeqParameterSet> {
    if sps.is_empty() {
        return None;
    }
    SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()
}

/// VUI parameters of an SPS (H.264, E.1.1); `None` where it has none, or cannot be read.
pub(super) fn vui(sps: &[u8]) -> Option<VuiParameters> {
    parsed(sps)?.vui_parameters
}

/// seq_parameter_set_id or pic_parameter_set_id (H.264, 7.3.2.1.1 and 7.3.2.2); `None` for other NAL units
/// and for ids out of range.
fn parameter_set_id(nal: &[u8]) -> Option<u32> {
    let (id_at, max) = match nal_type::of(*nal.first()?) {
        nal_type::SPS => (3, MAX_SPS),
        nal_type::PPS => (0, MAX_PPS),
        _ => return None,
    };
    // The id is the first field, behind three bytes in an SPS, and takes 17 bits at most.
    let bytes = rbsp(nal, 1, 8);
    let mut bits = BitReader::new(&bytes);
    bits.skip(id_at * 8)?;
    bits.exp_golomb().filter(|&id| (id as usize) < max)
}

/// nal_unit_type (H.264, table 7-1), those that matter here.
pub mod nal_type {
    /// Coded slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;

    /// The type in a NAL unit's header byte.
    pub const fn of(header: u8) -> u8 {
        header & 0b1_1111
    }
}

/// Iterates over the NAL units of an AVCC access unit (each behind a big-endian length of `length_size` bytes, 1 to 4);
/// empty NAL units are passed over. Ends after the first error.
pub fn avcc_nal_units(
    access_unit: &[u8],
    length_size: u8,
) -> impl Iterator<Item = Result<&[u8], H264Error>> + Clone {
    // A prefix of no bytes would never move on.
    let length_size = usize::from(length_size.clamp(1, 4));
    let end = access_unit.len();
    let mut rest = access_unit;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let truncated = |needed| Some(Err(H264Error::Truncated { at: end, needed }));
            let Some((prefix, behind)) = rest.split_at_checked(length_size) else {
                let needed = length_size - rest.len();
                rest = &[];
                return truncated(needed);
            };
            let length =
                prefix.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
            let Some((nal, behind)) = behind.split_at_checked(length) else {
                rest = &[];
                return truncated(length - behind.len());
            };
            rest = behind;
            if !nal.is_empty() {
                return Some(Ok(nal));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests;
