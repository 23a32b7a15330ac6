//! Codecs: what a track's codec headers say.

pub mod aac;
pub mod h264;

use crate::ClockRate;

/// The decoder configuration of a track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodecConfig {
    /// H.264 (RFC 6184).
    H264(h264::Config),
    /// MPEG-4 AAC (RFC 3640).
    Aac(aac::Config),
}

/// Whether a track is pictures or sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl CodecConfig {
    /// Whether the track is pictures or sound.
    pub fn kind(&self) -> MediaKind {
        match self {
            Self::H264(_) => MediaKind::Video,
            Self::Aac(_) => MediaKind::Audio,
        }
    }

    /// The RTP clock rate.
    pub fn clock_rate(&self) -> ClockRate {
        match self {
            Self::H264(_) => ClockRate::VIDEO,
            Self::Aac(config) => config.sample_rate(),
        }
    }

    /// The RFC 6381 string, such as `avc1.4D401F`; empty while the parameter sets are not known.
    pub fn codec_string(&self) -> String {
        match self {
            Self::H264(config) => config.codec_string(),
            Self::Aac(config) => config.codec_string(),
        }
    }

    /// Whether a decoder can start from it: for H.264, whether a sequence and a picture parameter set are known.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::H264(config) => config.is_complete(),
            Self::Aac(_) => true,
        }
    }
}
