//! H.264 (ITU-T H.264 and ISO/IEC 14496-15): NAL units, parameter sets, AVCDecoderConfigurationRecord.

use bytes::Bytes;

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
    /// Reads the record of an AVC sequence header. Slices, never copies.
    pub fn parse(_record: &Bytes) -> Result<Self, H264Error> {
        todo!()
    }
}

impl Config {
    /// profile_idc, constraint flags and level_idc of the first SPS, the `profile-level-id` of RFC 6184, 8.1.
    pub fn profile_level_id(&self) -> Option<[u8; 3]> {
        todo!()
    }
    /// Width and height in pixels after cropping, from the first SPS that can be read.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        todo!()
    }
    /// `avc1.PPCCLL`; empty without an SPS.
    pub fn codec_string(&self) -> String {
        todo!()
    }
    /// Whether both an SPS and a PPS are known.
    pub fn is_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }
    /// Puts in a parameter set seen in-band: replaces the one of the same id, else adds it. Whether that changed anything.
    /// Bounded: at most 32 SPS and 256 PPS (their id ranges).
    pub fn learn(&mut self, _nal: &[u8]) -> bool {
        todo!()
    }
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
}

/// Iterates over the NAL units of an AVCC access unit (each behind a big-endian length of `length_size` bytes);
/// empty NAL units are passed over. Ends after the first error.
pub fn avcc_nal_units(
    _access_unit: &[u8],
    _length_size: u8,
) -> impl Iterator<Item = Result<&[u8], H264Error>> {
    std::iter::from_fn(|| todo!())
}
