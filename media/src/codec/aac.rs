//! MPEG-4 AAC: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1). Read is what RTP and SDP need; program config elements and
//! the extensions behind the GASpecificConfig are left alone and kept in [`Config::raw`].

use bytes::Bytes;

use super::bits::BitReader;
use crate::ClockRate;

/// The longest config that is taken. The longest that is known, with a program config element of 16 elements
/// and a comment, stays below it in practice.
const MAX_CONFIG_BYTES: usize = 64;

/// samplingFrequencyIndex 0 to 12 (ISO/IEC 14496-3, table 1.18); 13 and 14 are reserved, 15 escapes to 24 bits.
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Audio object types with short frames: ER AAC LD and ER AAC ELD (ISO/IEC 14496-3, table 1.17).
const LD: u8 = 23;
/// Its ELDSpecificConfig begins with frameLengthFlag, too.
const ELD: u8 = 39;

/// What an AudioSpecificConfig says. Built only by [`Config::parse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    raw: Bytes,
    object_type: u8,
    sample_rate: ClockRate,
    channels: u8,
    samples_per_frame: u16,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AacError {
    /// The config ends within a field.
    #[error("AudioSpecificConfig of {0} bytes ends within a field")]
    Truncated(usize),
    /// A sampling frequency index of 13 or 14, or an explicit rate of 0.
    #[error("AudioSpecificConfig without a sampling frequency")]
    SampleRate,
    /// Longer than any that is known (64 bytes).
    #[error("AudioSpecificConfig of {0} bytes")]
    TooLong(usize),
}

impl Config {
    /// Reads an AudioSpecificConfig.
    pub fn parse(raw: Bytes) -> Result<Self, AacError> {
        if raw.len() > MAX_CONFIG_BYTES {
            return Err(AacError::TooLong(raw.len()));
        }
        let mut bits = Bits { reader: BitReader::new(&raw), config_bytes: raw.len() };
        let mut object_type = bits.object_type()?;
        let sample_rate = bits.sample_rate()?;
        let channels = channels(bits.read(4)?);
        // SBR (5) and PS (29) signalled hierarchically: the core's object type follows the extension's rate.
        if matches!(object_type, 5 | 29) {
            bits.sample_rate()?;
            object_type = bits.object_type()?;
        }
        let has_flag = has_ga_config(object_type) || object_type == ELD;
        let frame_length_flag = if has_flag { bits.read(1)? } else { 0 };
        let samples_per_frame = match (object_type, frame_length_flag) {
            (LD | ELD, 1) => 480,
            (LD | ELD, _) => 512,
            (_, 1) => 960,
            (_, _) => 1024,
        };
        Ok(Self { object_type, sample_rate, channels, samples_per_frame, raw })
    }
    /// The config as it came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
    /// The audio object type of the core: 2 for AAC-LC, also where SBR or PS are signalled on top of it.
    pub fn object_type(&self) -> u8 {
        self.object_type
    }
    /// The core sample rate, which is the RTP clock rate.
    pub fn sample_rate(&self) -> ClockRate {
        self.sample_rate
    }
    /// Channels; 0 where a program config element tells them.
    pub fn channels(&self) -> u8 {
        self.channels
    }
    /// Samples of one frame: 1024 or 960; 512 or 480 for low-delay AAC.
    pub fn samples_per_frame(&self) -> u16 {
        self.samples_per_frame
    }
    /// `mp4a.40.N`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

/// channelConfiguration (ISO/IEC 14496-3, table 1.19) to a number of channels; 0 where the config does not say.
fn channels(configuration: u32) -> u8 {
    match configuration {
        n @ 1..=6 => n as u8,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => 0,
    }
}

/// Whether a GASpecificConfig, which begins with frameLengthFlag, follows (ISO/IEC 14496-3, table 1.15).
fn has_ga_config(object_type: u8) -> bool {
    matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23)
}

/// Reads the fields of an AudioSpecificConfig.
struct Bits<'a> {
    reader: BitReader<'a>,
    config_bytes: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: usize) -> Result<u32, AacError> {
        self.reader.read(count).ok_or(AacError::Truncated(self.config_bytes))
    }

    fn object_type(&mut self) -> Result<u8, AacError> {
        let object_type = self.read(5)?;
        Ok(if object_type == 31 { 32 + self.read(6)? } else { object_type } as u8)
    }

    fn sample_rate(&mut self) -> Result<ClockRate, AacError> {
        let hz = match self.read(4)? {
            15 => self.read(24)?,
            index => SAMPLE_RATES.get(index as usize).copied().unwrap_or(0),
        };
        ClockRate::new(hz).ok_or(AacError::SampleRate)
    }
}

#[cfg(test)]
mod tests;
