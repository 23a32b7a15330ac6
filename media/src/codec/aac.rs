//! MPEG-4 AAC: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).

use bytes::Bytes;

use crate::ClockRate;

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
    pub fn parse(_raw: Bytes) -> Result<Self, AacError> {
        todo!()
    }
    /// The config as it came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
    /// The audio object type: 2 for AAC-LC.
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
    /// Samples of one frame: 1024 or 960.
    pub fn samples_per_frame(&self) -> u16 {
        self.samples_per_frame
    }
    /// `mp4a.40.N`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}
